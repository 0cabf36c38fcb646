-- `http-request lua.sluice ADDRESS` asks Sluice about a request before HAProxy goes on with it. README.md says what a client sees.
--
-- A request that Sluice denies, or cannot read, is answered here in Sluice's own words. For all others `txn.sluice` is set: to `allowed`, and then
-- `txn.sluice_x_ratelimit_limit` and its like hold what the client is to be told; or to `away`. It stays unset when the question could not be put.

-- Fields that say who asks. Add those that your limits and costs read, and never one that clients must not choose.
local WHO_ASKS = { "x-api-key", "authorization" }
local FOR_THE_CLIENT = { "x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset", "ratelimit-policy", "ratelimit" }
-- Fields that HAProxy writes by itself.
local OF_THE_CONNECTION = { connection = true, ["content-length"] = true, ["keep-alive"] = true, ["transfer-encoding"] = true }

local function question(txn)
    local fields = {
        ["x-forwarded-for"] = { txn.sf:src() },
        ["x-forwarded-method"] = { txn.sf:method() },
        ["x-forwarded-uri"] = { txn.sf:pathq() },
    }
    local sent = txn.http:req_get_headers()
    for _, name in ipairs(WHO_ASKS) do
        -- HAProxy counts from 0 here and from 1 there. Two are enough for Sluice to see that there is more than one; it has no room for hundreds.
        if sent[name] then fields[name] = { sent[name][0], sent[name][1] } end
    end
    return fields
end

local function refuse(txn, answer)
    local reply = txn:reply{ status = answer.status, reason = answer.reason, body = answer.body }
    for name, values in pairs(answer.headers) do
        for i = 0, OF_THE_CONNECTION[name] and -1 or #values do reply:add_header(name, values[i]) end
    end
    txn:done(reply)
end

local function sluice(txn, address)
    local answer = core.httpclient():get{ url = "http://sluice/v1/forward-auth", dst = address, headers = question(txn) }
    local class = answer.status // 100
    if class == 4 then return refuse(txn, answer) end
    txn:set_var("txn.sluice", class == 2 and "allowed" or "away")
    for _, name in ipairs(class == 2 and FOR_THE_CLIENT or {}) do
        local values = answer.headers[name]
        if values then txn:set_var("txn.sluice_" .. name:gsub("-", "_"), values[0]) end
    end
end

core.register_action("sluice", { "http-req" }, sluice, 1)
