--[[ check.lua: decides a batch of checks in their order, each all or nothing, and writes every changed bucket once.   state layouts: 1 to 5

  KEYS[k]  bucket k, each once; all in one cluster slot
  ARGV[1]  MessagePack of { limits, checks }, two flat arrays of whole numbers:
           limits  per limit 4: refill tokens, refill us (in lowest terms: so many tokens come back in so many us), and the time that an
                   empty bucket needs to fill: us, fraction
           checks  a simple check, which takes one cost of whole us from one bucket under a limit that denies, is 3 numbers:
                     bucket (index into KEYS), limit (which of limits, from 1), the time that the cost needs to come back in us
                   any other: 0, action (0 take, 1 peek, 2 charge, 3 give back, 4 reset), count of parts, then per part 5:
                     bucket, limit, 1 if a lack of tokens denies else 0, the time that the cost needs to come back: us, fraction
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
    layout 5  byte 5, empty us (7), refill tokens (1), fraction (1), refill s (2)      few tokens per whole seconds, nothing owed
  Those of 12 bytes cost Redis 16 bytes a bucket less than the third.
  A state expires when its bucket is full again, to the millisecond above: by an absolute time, since Redis counts relative ones from a clock
  that it read before this script did. ]]

local MAX_CLOCK_STEP = 1000000                        -- us; the core's MAX_CLOCK_STEP_US
local MAX_FILL = 50 * 365 * 24 * 60 * 60 * 1000000    -- us; the core's MAX_FILL_US
local TAKE, PEEK, CHARGE, GIVE_BACK = 0, 1, 2, 3

local call, floor, ceil, format, byte = redis.call, math.floor, math.ceil, string.format, string.byte
local pack, unpack_state = struct.pack, struct.unpack

local time = call('TIME')
local now = time[1] * 1000000 + time[2]
local latest, deepest = now + MAX_CLOCK_STEP, now + MAX_FILL

local plan = cmsgpack.unpack(ARGV[1])
local numbers, checks = plan[1], plan[2]

-- By limit: the rate, the time to fill, the instant at which a full bucket's line crosses zero, and, where one token comes back in a whole
-- number of us, that number.
local refill_tokens, refill_us, fill_us, fill_fraction, full_us, full_fraction, interval = {}, {}, {}, {}, {}, {}, {}
for at = 1, #numbers, 4 do
  local limit = (at + 3) / 4
  local tokens, fill, rest = numbers[at], numbers[at + 2], numbers[at + 3]
  refill_tokens[limit], refill_us[limit], fill_us[limit], fill_fraction[limit] = tokens, numbers[at + 1], fill, rest
  if rest > 0 then
    full_us[limit], full_fraction[limit] = now - fill - 1, tokens - rest
  else
    full_us[limit], full_fraction[limit] = now - fill, 0
  end
  interval[limit] = tokens == 1 and numbers[at + 1] or false
end

-- The buckets in hand, by index into KEYS. One without `us` is full. Most rates and states are `whole`: so many us a token, no fraction, no
-- debt. The rest of the tables are for those that are not. `unknown` holds those in a layout of another version.
local us, whole = {}, {}
local fraction, state_tokens, state_us, indebted, unknown = {}, {}, {}, {}, nil
local stored = #KEYS > 0 and call('MGET', unpack(KEYS)) or {}
for k = 1, #KEYS do
  local state = stored[k]
  if state then
    local layout, length = byte(state), #state
    local _
    if layout == 1 and length == 12 then
      _, us[k], whole[k] = unpack_state('>BI7I4', state)
    elseif layout == 2 and length == 12 then
      local ms
      _, us[k], ms = unpack_state('>BI7I4', state)
      whole[k] = ms * 1000
    elseif layout == 3 and length == 25 then
      _, us[k], fraction[k], state_tokens[k], state_us[k] = unpack_state('>BI7I5I5I7', state)
    elseif layout == 5 and length == 12 then
      local seconds
      _, us[k], state_tokens[k], fraction[k], seconds = unpack_state('>BI7BBI2', state)
      state_us[k] = seconds * 1000000
    elseif layout == 4 and length == 32 then
      _, us[k], fraction[k], state_tokens[k], state_us[k], indebted[k] = unpack_state('>BI7I5I5I7I7', state)
    else
      unknown = unknown or {}
      unknown[k] = true
    end
  end
end

-- The bucket as a limit and the present see it: `empty` in the limit's units, never fuller than full, never far behind a clock that stepped back.
local function settled(k, limit)
  local e, f, tokens, micros, d = us[k], 0, 1, whole[k], nil
  if not e then
    return full_us[limit], full_fraction[limit], nil
  end
  if not micros then
    f, tokens, micros, d = fraction[k], state_tokens[k], state_us[k], indebted[k]
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
  if micros ~= refill_us[limit] or tokens ~= refill_tokens[limit] then
    local level = ((now - e) * tokens - f) / micros
    e, f = now - floor(level * refill_us[limit] / refill_tokens[limit]), 0
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
  changed[k] = limit
  if e == full_us[limit] and f == full_fraction[limit] then
    us[k] = nil
  elseif interval[limit] and not d then
    us[k], whole[k] = e, interval[limit]
  else
    us[k], whole[k] = e, nil
    fraction[k], state_tokens[k], state_us[k], indebted[k] = f, refill_tokens[limit], refill_us[limit], d
  end
end

-- Takes or looks: '1' if every limit that denies has the tokens. Limits that do not deny pay only what they have.
local after_us, after_fraction = {}, {}
local function take(first, parts, peek)
  local verdict = '1'
  for part = 1, parts do
    local at = first + 5 * (part - 1)
    local limit = checks[at + 1]
    local e, f = settled(checks[at], limit)
    e, f = e + checks[at + 3], f + checks[at + 4]
    if f >= refill_tokens[limit] then
      e, f = e + 1, f - refill_tokens[limit]
    end
    local covered = e < now or (e == now and f == 0)
    after_us[part], after_fraction[part] = covered and e, f
    if not covered and checks[at + 2] == 1 then
      verdict = '0'
    end
  end
  if verdict == '1' and not peek then
    for part = 1, parts do
      local at = first + 5 * (part - 1)
      local costs = checks[at + 3] > 0 or checks[at + 4] > 0
      if costs and after_us[part] then
        put(checks[at], checks[at + 1], after_us[part], after_fraction[part], nil)
      end
    end
  end
  return verdict
end

-- Charges, gives back or resets.
local function adjust(first, parts, action)
  for part = 1, parts do
    local at = first + 5 * (part - 1)
    local k, limit = checks[at], checks[at + 1]
    local e, f = settled(k, limit)
    local tokens = refill_tokens[limit]
    if action == CHARGE then
      e, f = e + checks[at + 3], f + checks[at + 4]
      if f >= tokens then
        e, f = e + 1, f - tokens
      end
      if e >= deepest then
        e, f = deepest, 0
      end
    elseif action == GIVE_BACK then
      e, f = e - checks[at + 3], f - checks[at + 4]
      if f < 0 then
        e, f = e - 1, f + tokens
      end
    end
    local full, rest = full_us[limit], full_fraction[limit]
    if action > GIVE_BACK or e < full or (e == full and f < rest) then
      e, f = full, rest
    end
    put(k, limit, e, f, (e > now or (e == now and f > 0)) and now or nil)
  end
end

local function any_unknown(first, parts)
  for at = first, first + 5 * (parts - 1), 5 do
    if unknown[checks[at]] then
      return true
    end
  end
  return false
end

local verdicts, count = {}, 0
local at, last = 1, #checks
while at <= last do
  local k = checks[at]
  local verdict = '1'
  if k > 0 then
    local limit, cost = checks[at + 1], checks[at + 2]
    at = at + 3
    local e, per_token = us[k], interval[limit]
    if unknown and unknown[k] then
      verdict = 'u'
    else
      if not e or whole[k] == per_token then
        local full = full_us[limit]
        if not e or e < full then
          e = full
        end
      else
        e = settled(k, limit)
      end
      -- A clock that stepped back by less than a second needs no care here: `empty` lies ahead of it, which denies; by more, `settled` says from when on.
      e = e + cost
      if e > now then
        verdict = '0'
      elseif cost > 0 then
        us[k], whole[k], changed[k] = e, per_token, limit
      end
    end
  else
    local action, parts, first = checks[at + 1], checks[at + 2], at + 3
    at = first + 5 * parts
    if unknown and any_unknown(first, parts) then
      verdict = 'u'
    elseif action <= PEEK then
      verdict = take(first, parts, action == PEEK)
    else
      adjust(first, parts, action)
    end
  end
  count = count + 1
  verdicts[count] = verdict
end

for k, limit in pairs(changed) do
  local e, per_token = us[k], whole[k]
  if not e then
    call('DEL', KEYS[k])
  else
    local full, state = e + fill_us[limit]
    if per_token then
      if per_token < 4294967296 then
        state = pack('>BI7I4', 1, e, per_token)
      elseif per_token % 1000 == 0 and per_token < 4294967296000 then
        state = pack('>BI7I4', 2, e, per_token / 1000)
      else
        state = pack('>BI7I5I5I7', 3, e, 0, 1, per_token)
      end
    else
      local rest = fraction[k] + fill_fraction[limit]
      if rest > refill_tokens[limit] then
        full = full + 2
      elseif rest > 0 then
        full = full + 1
      end
      local tokens, micros = state_tokens[k], state_us[k]
      if indebted[k] then
        state = pack('>BI7I5I5I7I7', 4, e, fraction[k], tokens, micros, indebted[k])
      elseif tokens < 256 and micros < 65536000000 and micros % 1000000 == 0 then
        state = pack('>BI7BBI2', 5, e, tokens, fraction[k], micros / 1000000)
      else
        state = pack('>BI7I5I5I7', 3, e, fraction[k], tokens, micros)
      end
    end
    call('SET', KEYS[k], state, 'PXAT', format('%d', ceil(full / 1000)))
  end
end

return { now, table.concat(verdicts), stored }
