--[[ check_one.lua: decides one simple check as check.lua does, for half of what that costs, if the
     bucket is unused or was written under the same rate. Nearly every call is such a check while
     few checks arrive at once.
                                                                            state layouts: 1 and 2

  KEYS[1]  the bucket
  ARGV     whole numbers in us: the time in which one token comes back, which layout 1 or 2 can
           hold; the time to fill an empty bucket; the time that the cost needs to come back; and
           the epoch of check.lua, if there is one
  returns  now (this server's TIME) if the check is allowed, and its negative if it is denied. With
           a state before the call, an array of that and the state.
           0 if check.lua has to decide: nothing was written.

  The arithmetic is that of check.lua's simple checks, line by line. `+ 0` makes a number of a text
  faster than a function does. ]]

local call = redis.call
local state = call('GET', KEYS[1])
local time = call('TIME')
local now = time[1] * 1000000 + time[2]
local latest = now + 1000000
local interval, fill, epoch = ARGV[1] + 0, ARGV[2] + 0, ARGV[4]
local empty = now - fill
if state then
  if #state ~= 12 then
    return 0
  end
  local layout, e, unit = struct.unpack('>BI7I4', state)
  if layout == 2 then
    unit = unit * 1000
  elseif layout ~= 1 then
    return 0
  end
  if unit ~= interval or e >= latest then
    return 0
  end
  if e > empty then
    empty = e
  end
elseif epoch and epoch + 0 > empty then
  empty = epoch + 0
  if empty >= latest then
    return 0
  end
end

local cost = ARGV[3] + 0
local after = empty + cost
if after > now then
  return state and { -now, state } or -now
end
if cost > 0 then
  if after < 0 then
    after = 0
  end
  local new
  if interval < 4294967296 then
    new = struct.pack('>BI7I4', 1, after, interval)
  else
    new = struct.pack('>BI7I4', 2, after, interval / 1000)
  end
  -- '%d' cuts a fraction off, so this rounds up to a ms.
  local full = after + fill
  if epoch and after < epoch + 0 then
    full = epoch + fill
  end
  call('SET', KEYS[1], new, 'PXAT', string.format('%d', (full + 999) / 1000))
end
return state and { now, state } or now
