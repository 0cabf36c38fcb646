--[[ figures.lua: adds what a replica has counted to the figures of its fleet, once, however often it is sent.

  KEYS[1]  hash of replicas: id -> 'number of its last flush, ms when it was sent, then what the replica holds'
  KEYS[2]  hash of totals            KEYS[3]  hash of endpoints          KEYS[4]  hash of gauges: key -> 'ms when it was said, value'
  KEYS[5]  sorted set of the deployments that run, by ms of their start  KEYS[6]  the same of those that finished, by ms of their end
  KEYS[7]  sorted set of the clients limited most often in this slice
  ARGV[1]  the replica's id          ARGV[2]  the flush's number >= 1    ARGV[3]  what the replica holds, as text
  ARGV[4]  now in ms                 ARGV[5..9]  the most endpoints, gauges, deployments and clients kept, and ms after which KEYS[7] is forgotten
  ARGV[10] ms for which an instance's report holds    ARGV[11] ms after which a deployment is taken for forgotten
  ARGV[12] ms for which the end of a deployment, and the number of a silent replica's last flush, is remembered
  ARGV[13] ms by which a start may be told to be later than the end of the same deployment
  then five lists, each behind its length: totals (field, sum), endpoints (field, sum), deployments (id, 'started' or 'finished', ms),
           gauges (key, ms, value or ''), clients (tag, times)
  returns  1 when the flush was added, 0 when it had been before ]]

local replica, number, held, now = ARGV[1], tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4])
local most_endpoints, most_gauges, most_deployments, most_clients = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local clients_kept, report_kept, oldest_start, remembered = ARGV[9], tonumber(ARGV[10]), tonumber(ARGV[11]), tonumber(ARGV[12])
local late_start = tonumber(ARGV[13])

local known = redis.call('HGET', KEYS[1], replica)
local last = known and tonumber(string.match(known, '^(%d+) ')) or 0
redis.call('HSET', KEYS[1], replica, string.format('%d %d %s', math.max(last, number), now, held))
if not known then
  -- A new replica is seldom, and as good a moment as any to forget those long gone.
  local replicas = redis.call('HGETALL', KEYS[1])
  for i = 1, #replicas, 2 do
    local told = tonumber(string.match(replicas[i + 1], '^%d+ (%d+)'))
    if not told or now - told > remembered then redis.call('HDEL', KEYS[1], replicas[i]) end
  end
  redis.call('HSETNX', KEYS[2], 'since', ARGV[4])
end
if number <= last then return 0 end

local at = 13
local function next_argument()
  at = at + 1
  return ARGV[at]
end

-- A sum that has come to the end of 64 bits stays where it is: that is no reason to lose the others.
for _ = 1, tonumber(next_argument()) do
  local field, sum = next_argument(), next_argument()
  redis.pcall('HINCRBY', KEYS[2], field, sum)
end

local endpoints = redis.call('HLEN', KEYS[3])
for _ = 1, tonumber(next_argument()) do
  local field, sum = next_argument(), next_argument()
  if endpoints < most_endpoints or redis.call('HEXISTS', KEYS[3], field) == 1 then
    redis.pcall('HINCRBY', KEYS[3], field, sum)
  end
end

redis.call('ZREMRANGEBYSCORE', KEYS[5], '-inf', now - oldest_start)
redis.call('ZREMRANGEBYSCORE', KEYS[6], '-inf', now - remembered)
for _ = 1, tonumber(next_argument()) do
  local id, phase, when = next_argument(), next_argument(), next_argument()
  if phase == 'finished' then
    redis.call('ZREM', KEYS[5], id)
    if redis.call('ZCARD', KEYS[6]) < most_deployments then redis.call('ZADD', KEYS[6], when, id) end
  else
    -- The end may come by way of another replica, and sooner than the start.
    local finished = redis.call('ZSCORE', KEYS[6], id)
    local is_over = finished and tonumber(finished) + late_start >= tonumber(when)
    if not is_over and redis.call('ZCARD', KEYS[5]) < most_deployments then redis.call('ZADD', KEYS[5], 'NX', when, id) end
  end
end

local function said(report)
  return tonumber(string.match(report, '^(%d+) ')) or 0
end
local gauges = redis.call('HLEN', KEYS[4])
local swept = false
for _ = 1, tonumber(next_argument()) do
  local key, when, value = next_argument(), next_argument(), next_argument()
  local report = redis.call('HGET', KEYS[4], key)
  if not report and gauges >= most_gauges and not swept then
    swept = true
    local all = redis.call('HGETALL', KEYS[4])
    for i = 1, #all, 2 do
      local of_an_instance = string.match(all[i], '^[^\31]*\31[^\31]')
      if of_an_instance and now - said(all[i + 1]) >= report_kept then redis.call('HDEL', KEYS[4], all[i]) end
    end
    gauges = redis.call('HLEN', KEYS[4])
    if gauges >= most_gauges then
      -- All are the whole's, or of living instances: those that nobody spoke of for the longest time make room.
      local oldest = {}
      all = redis.call('HGETALL', KEYS[4])
      for i = 1, #all, 2 do oldest[#oldest + 1] = { said(all[i + 1]), all[i] } end
      table.sort(oldest, function(a, b) return a[1] < b[1] end)
      for i = 1, math.ceil(most_gauges / 10) do gauges = gauges - redis.call('HDEL', KEYS[4], oldest[i][2]) end
    end
  end
  if report and said(report) > tonumber(when) then
    -- Somebody said something later.
  elseif value == '' then
    gauges = gauges - redis.call('HDEL', KEYS[4], key)
  elseif report or gauges < most_gauges then
    gauges = gauges + redis.call('HSET', KEYS[4], key, when .. ' ' .. value)
  end
end

local clients = tonumber(next_argument())
for _ = 1, clients do
  local tag, times = next_argument(), next_argument()
  redis.call('ZINCRBY', KEYS[7], times, tag)
end
if clients > 0 then
  redis.call('ZREMRANGEBYRANK', KEYS[7], 0, -(most_clients + 1))
  redis.call('PEXPIRE', KEYS[7], clients_kept)
end
return 1
