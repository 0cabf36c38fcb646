--[[ epoch.lua: says since when this server remembers its buckets. A memory that was lost, by a
     flush or a restart without its data, begins anew with the next call.

  KEYS     the epochs of partitions, in one slot: each the time in us at which the memory of that
           partition began. They do not expire.
  returns  { now in us (this server's TIME), the epoch of each partition }

  An epoch that lies in the future was written before the clock stepped back. It is set to now,
  since unseen buckets would be empty until then. ]]

local MAX_CLOCK_STEP = 1000000                        -- us; the core's MAX_CLOCK_STEP_US

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local reply = { now }
for k, stored in ipairs(redis.call('MGET', unpack(KEYS))) do
  local epoch = stored and tonumber(stored)
  if not epoch or epoch > now + MAX_CLOCK_STEP then
    epoch = now
    redis.call('SET', KEYS[k], string.format('%d', now))
  end
  reply[k + 1] = epoch
end
return reply
