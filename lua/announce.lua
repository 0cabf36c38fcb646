--[[ announce.lua: notes that a replica is alive, forgets those that are not, and lists the living.

  KEYS[1]  hash of replicas: id -> 'first seen us, last seen us, version'
  ARGV[1]  the replica's id      ARGV[2]  its version      ARGV[3]  us after which a silent replica is forgotten
  returns  { now in us, then per living replica: id, us since it was first seen, us since it was last seen, version } ]]

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local id, version, forgotten_after = ARGV[1], ARGV[2], tonumber(ARGV[3])

local living = { now }
local first = now
local entries = redis.call('HGETALL', KEYS[1])
for i = 1, #entries, 2 do
  local born, seen, runs = string.match(entries[i + 1], '^(%d+) (%d+) (.*)$')
  born, seen = tonumber(born), tonumber(seen)
  if entries[i] == id then
    first = born or now
  elseif not seen or now - seen >= forgotten_after then
    redis.call('HDEL', KEYS[1], entries[i])
  else
    -- A clock that stepped back shows replicas from the future: they were seen just now.
    living[#living + 1] = entries[i]
    living[#living + 1] = math.max(now - born, 0)
    living[#living + 1] = math.max(now - seen, 0)
    living[#living + 1] = runs
  end
end

redis.call('HSET', KEYS[1], id, string.format('%d %d %s', first, now, version))
redis.call('PEXPIRE', KEYS[1], string.format('%d', forgotten_after / 1000 * 2))
living[#living + 1] = id
living[#living + 1] = math.max(now - first, 0)
living[#living + 1] = 0
living[#living + 1] = version
return living
