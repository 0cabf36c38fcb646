--[[ check.lua: decides a batch of checks in their order, each all or nothing, and writes every changed bucket once.   state layouts: 1 to 4

  KEYS[k]  bucket k, each once; all in one cluster slot
  ARGV[1]  MessagePack of { limits, checks }, two flat arrays of whole numbers:
           limits  per limit 4: refill tokens, refill us (in lowest terms: so many tokens come back in so many us), and the time that an
                   empty bucket needs to fill: us, fraction
           checks  per check: action (0 take, 1 peek, 2 charge, 3 give back, 4 reset), count of parts, then per part 5: bucket (index into
                   KEYS, from 1), limit (offset into limits, from 0), 1 if a lack of tokens denies else 0, and the time that the cost needs
                   to come back: us, fraction
  returns  { now in us (this server's TIME), one character per check: '1' allowed, '0' denied, 'u' undecided since a bucket's layout is
             unknown, and every bucket's state as it was before (nil when it was full) }
           From these the caller computes what remains and when to retry, so that no number is turned to text here but those stored.

  A fraction counts 1 / refill tokens of a microsecond, less than one whole. All numbers are whole and below 2^53, so doubles are exact.
  A bucket's state is `empty`, the instant at which its line of tokens crosses zero; the arithmetic is that of the core's bucket.rs, line by line.

  State as stored, big-endian:
    layout 1  byte 1, empty us (7 bytes), refill us (4)                                one token per `refill us`, nothing owed
    layout 2  byte 2, empty us (7), refill ms (4)                                      one token per `refill ms`, nothing owed
    layout 3  byte 3, empty us (7), fraction (5), refill tokens (5), refill us (7)     any other rate, nothing owed
    layout 4  as layout 3, then the instant of the debt in us (7)                      tokens are owed
  The first two, of 12 bytes, cost Redis 16 bytes a bucket less than the third.
  A state expires when its bucket is full again, to the millisecond above: by an absolute time, since Redis counts relative ones from a clock
  that it read before this script did. ]]

local MAX_CLOCK_STEP = 1000000                        -- us; the core's MAX_CLOCK_STEP_US
local MAX_FILL = 50 * 365 * 24 * 60 * 60 * 1000000    -- us; the core's MAX_FILL_US
local TAKE, PEEK, CHARGE, GIVE_BACK = 0, 1, 2, 3

local floor, ceil, format, byte = math.floor, math.ceil, string.format, string.byte
local pack, unpack_state = struct.pack, struct.unpack

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local latest, deepest = now + MAX_CLOCK_STEP, now + MAX_FILL

local plan = cmsgpack.unpack(ARGV[1])
local limits, checks = plan[1], plan[2]

-- The instant at which a full bucket's line crosses zero, by limit.
local full_us, full_fraction = {}, {}
for limit = 0, #limits - 1, 4 do
  local us, fraction = now - limits[limit + 3], limits[limit + 4]
  if fraction > 0 then
    us, fraction = us - 1, limits[limit + 1] - fraction
  end
  full_us[limit], full_fraction[limit] = us, fraction
end

-- The buckets in hand, by index into KEYS. No `us` means full, `unknown` means that another version's layout is there.
local us, fraction, tokens, micros, indebted = {}, {}, {}, {}, {}
local unknown, any_unknown = {}, false
local stored = #KEYS > 0 and redis.call('MGET', unpack(KEYS)) or {}
for k = 1, #KEYS do
  local state = stored[k]
  if state then
    local layout, length = byte(state), #state
    local _
    if layout == 1 and length == 12 then
      _, us[k], micros[k] = unpack_state('>BI7I4', state)
      fraction[k], tokens[k] = 0, 1
    elseif layout == 2 and length == 12 then
      _, us[k], micros[k] = unpack_state('>BI7I4', state)
      fraction[k], tokens[k], micros[k] = 0, 1, micros[k] * 1000
    elseif layout == 3 and length == 25 then
      _, us[k], fraction[k], tokens[k], micros[k] = unpack_state('>BI7I5I5I7', state)
    elseif layout == 4 and length == 32 then
      _, us[k], fraction[k], tokens[k], micros[k], indebted[k] = unpack_state('>BI7I5I5I7I7', state)
    else
      unknown[k], any_unknown = true, true
    end
  end
end

-- The bucket as a limit and the present see it: `empty` in the limit's units, never fuller than full, never far behind a clock that stepped back.
local function settled(k, limit)
  local e, f, d = us[k], fraction[k], indebted[k]
  if not e then
    return full_us[limit], full_fraction[limit], nil
  end
  if d then
    if d > latest then
      e, d = e - (d - latest), latest
    end
    if e < now or (e == now and f == 0) then
      d = nil
    end
  elseif e >= latest then
    e, f = latest, 0
  end
  local limit_tokens, limit_micros = limits[limit + 1], limits[limit + 2]
  if micros[k] ~= limit_micros or tokens[k] ~= limit_tokens then
    local level = ((now - e) * tokens[k] - f) / micros[k]
    e, f = now - floor(level * limit_micros / limit_tokens), 0
    if e > deepest then
      e = deepest
    end
  end
  local full = full_us[limit]
  if e < full or (e == full and f < full_fraction[limit]) then
    return full, full_fraction[limit], nil
  end
  return e, f, d
end

-- A bucket that is full is forgotten at once, so that a full bucket and one never seen are the same to whatever follows.
local changed = {}
local function put(k, limit, e, f, d)
  if e == full_us[limit] and f == full_fraction[limit] then
    us[k] = nil
  else
    us[k], fraction[k], indebted[k] = e, f, d
    tokens[k], micros[k] = limits[limit + 1], limits[limit + 2]
  end
  changed[k] = limit
end

local verdicts, count = {}, 0
local after_us, after_fraction = {}, {}
local at, last = 1, #checks
while at < last do
  local action = checks[at]
  local first, final = at + 2, at + 1 + checks[at + 1] * 5
  at = final + 1
  local verdict = '1'
  if any_unknown then
    for part = first, final, 5 do
      if unknown[checks[part]] then
        verdict = 'u'
      end
    end
  end

  if verdict == 'u' then
    -- Undecided: nothing is touched.
  elseif action <= PEEK then
    for part = first, final, 5 do
      local limit = checks[part + 1]
      local e, f = settled(checks[part], limit)
      e, f = e + checks[part + 3], f + checks[part + 4]
      local whole = limits[limit + 1]
      if f >= whole then
        e, f = e + 1, f - whole
      end
      if e < now or (e == now and f == 0) then
        after_us[part], after_fraction[part] = e, f
      else
        after_us[part] = nil
        if checks[part + 2] == 1 then
          verdict = '0'
        end
      end
    end
    if verdict == '1' and action == TAKE then
      for part = first, final, 5 do
        local e = after_us[part]
        if e and (checks[part + 3] > 0 or checks[part + 4] > 0) then
          put(checks[part], checks[part + 1], e, after_fraction[part], nil)
        end
      end
    end
  else
    for part = first, final, 5 do
      local k, limit = checks[part], checks[part + 1]
      local e, f = settled(k, limit)
      local whole = limits[limit + 1]
      if action == CHARGE then
        e, f = e + checks[part + 3], f + checks[part + 4]
        if f >= whole then
          e, f = e + 1, f - whole
        end
        if e >= deepest then
          e, f = deepest, 0
        end
      elseif action == GIVE_BACK then
        e, f = e - checks[part + 3], f - checks[part + 4]
        if f < 0 then
          e, f = e - 1, f + whole
        end
      end
      local full, rest = full_us[limit], full_fraction[limit]
      if action > GIVE_BACK or e < full or (e == full and f < rest) then
        e, f = full, rest
      end
      local d = nil
      if e > now or (e == now and f > 0) then
        d = now
      end
      put(k, limit, e, f, d)
    end
  end
  count = count + 1
  verdicts[count] = verdict
end

for k, limit in pairs(changed) do
  local e, f, d = us[k], fraction[k], indebted[k]
  if not e then
    redis.call('DEL', KEYS[k])
  else
    local whole, interval, state = limits[limit + 1], limits[limit + 2]
    local full, rest = e + limits[limit + 3], f + limits[limit + 4]
    if rest >= whole then
      full, rest = full + 1, rest - whole
    end
    if rest > 0 then
      full = full + 1
    end
    if d then
      state = pack('>BI7I5I5I7I7', 4, e, f, whole, interval, d)
    elseif whole == 1 and interval < 4294967296 then
      state = pack('>BI7I4', 1, e, interval)
    elseif whole == 1 and interval % 1000 == 0 and interval < 4294967296000 then
      state = pack('>BI7I4', 2, e, interval / 1000)
    else
      state = pack('>BI7I5I5I7', 3, e, f, whole, interval)
    end
    redis.call('SET', KEYS[k], state, 'PXAT', format('%d', ceil(full / 1000)))
  end
end

return { now, table.concat(verdicts), stored }
