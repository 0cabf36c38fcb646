-- `http-request lua.sluice ADDRESS` asks Sluice to decide about a request. README.md describes what
-- a client receives.
--
-- A request that Sluice denies or cannot read gets Sluice's response. For any other request,
-- `txn.sluice` is set: to `allowed`, and then `txn.sluice_x_ratelimit_limit` and similar variables
-- hold the fields for the client's response; or to `unavailable`. It stays unset if the request
-- could not be sent to Sluice.

-- Fields that identify a client. Add the fields that your limits and costs read, but never one that
-- clients must not choose.
local IDENTITY_FIELDS = { "x-api-key", "authorization" }
local CLIENT_FIELDS = {
    "x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset",
    "ratelimit-policy", "ratelimit",
}
-- Fields that HAProxy writes by itself.
local CONNECTION_FIELDS = {
    connection = true,
    ["content-length"] = true,
    ["keep-alive"] = true,
    ["transfer-encoding"] = true,
}

local function forward_auth_headers(txn)
    local headers = {
        ["x-forwarded-for"] = { txn.sf:src() },
        ["x-forwarded-method"] = { txn.sf:method() },
        ["x-forwarded-uri"] = { txn.sf:pathq() },
    }
    local received = txn.http:req_get_headers()
    for _, name in ipairs(IDENTITY_FIELDS) do
        -- Received values are counted from 0, and sent values from 1. Two values are enough for
        -- Sluice to reject a repeated field; a buffer has no room for hundreds.
        if received[name] then headers[name] = { received[name][0], received[name][1] } end
    end
    return headers
end

local function reject(txn, response)
    local reply = txn:reply{
        status = response.status, reason = response.reason, body = response.body,
    }
    for name, values in pairs(response.headers) do
        if not CONNECTION_FIELDS[name] then
            for i = 0, #values do reply:add_header(name, values[i]) end
        end
    end
    txn:done(reply)
end

local function sluice(txn, address)
    local response = core.httpclient():get{
        url = "http://sluice/v1/forward-auth",
        dst = address,
        headers = forward_auth_headers(txn),
    }
    local class = response.status // 100
    if class == 4 then return reject(txn, response) end
    txn:set_var("txn.sluice", class == 2 and "allowed" or "unavailable")
    for _, name in ipairs(class == 2 and CLIENT_FIELDS or {}) do
        local values = response.headers[name]
        if values then txn:set_var("txn.sluice_" .. name:gsub("-", "_"), values[0]) end
    end
end

core.register_action("sluice", { "http-req" }, sluice, 1)
