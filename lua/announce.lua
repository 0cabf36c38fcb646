--[[ announce.lua: records that a replica is alive, forgets silent replicas, and lists the live
     ones.

  KEYS[1]  hash of replicas: id -> 'FIRST_US LAST_US VERSION', the times of its first and its last
           announcement, and the version that it runs
  ARGV[1]  id of the replica    ARGV[2]  its version
  ARGV[3]  us after which a silent replica is forgotten
  returns  { now in us (this server's TIME), then for each live replica: id, us since its first
             announcement, us since its last announcement, version } ]]

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local id, version, forgotten_after = ARGV[1], ARGV[2], tonumber(ARGV[3])

local live = { now }
local first = now
local entries = redis.call('HGETALL', KEYS[1])
for i = 1, #entries, 2 do
  local first_seen, last_seen, runs = string.match(entries[i + 1], '^(%d+) (%d+) (.*)$')
  first_seen, last_seen = tonumber(first_seen), tonumber(last_seen)
  if entries[i] == id then
    first = math.min(first_seen or now, now)
  elseif not last_seen or now - last_seen >= forgotten_after then
    redis.call('HDEL', KEYS[1], entries[i])
  else
    -- After a clock stepped back, announcements may lie in the future. They count as made now, and
    -- are written so: a replica that is gone must be forgotten in time.
    if last_seen > now then
      first_seen, last_seen = math.min(first_seen, now), now
      local entry = string.format('%d %d %s', first_seen, last_seen, runs)
      redis.call('HSET', KEYS[1], entries[i], entry)
    end
    live[#live + 1] = entries[i]
    live[#live + 1] = math.max(now - first_seen, 0)
    live[#live + 1] = now - last_seen
    live[#live + 1] = runs
  end
end

redis.call('HSET', KEYS[1], id, string.format('%d %d %s', first, now, version))
redis.call('PEXPIRE', KEYS[1], string.format('%d', forgotten_after / 1000 * 2))
live[#live + 1] = id
live[#live + 1] = math.max(now - first, 0)
live[#live + 1] = 0
live[#live + 1] = version
return live
