--[[ stats.lua: adds one replica's flush to the statistics of its fleet, exactly once.
                                                                            state layout: 1
  KEYS     all in one slot
  KEYS[1]  hash of replicas: id -> 'NUMBER MS CONNECTIONS', the number and the time of the
           replica's last flush, and the connections that it has open
  KEYS[2]  hash of totals: field -> sum; `since` is the time of the first flush in ms
  KEYS[3]  hash of endpoints: field -> sum
  KEYS[4]  hash of gauges: metric \31 instance \31 labels... -> 'MS VALUE', the last report
  KEYS[5]  sorted set of active deployments, by the ms of their start
  KEYS[6]  sorted set of finished deployments, by the ms of their end
  KEYS[7]  sorted set of the clients denied most often in this time slice
  KEYS[8]  hash of the hourly sums of today: 'HOUR SERIES' -> sum
  KEYS[9]  the same of yesterday
  KEYS[10] hash of deployments that cost by the hour: 'r' ID, of one that was not deleted, or
           'e' SINCE ' ' ID -> 'END SINCE CHARGED PER_HOUR CURRENCY KIND', times in ms, END '-' if
           it was not deleted
  KEYS[11] sorted set of deletions, by their ms: 'm' ID of a deployment in KEYS[10], 'u' ID of
           another, whose creation may be reported later
  ARGV[1]  id of the replica          ARGV[2]  number of the flush >= 1
  ARGV[3]  CONNECTIONS, as text       ARGV[4]  now in ms
  ARGV[5]  fields kept in KEYS[3]     ARGV[6]  gauges kept
  ARGV[7]  deployments kept           ARGV[8]  clients kept in KEYS[7]
  ARGV[9]  ms until KEYS[7] expires
  ARGV[10] ms for which a gauge report of an instance is valid
  ARGV[11] ms after which a deployment that has not finished is no longer active
  ARGV[12] ms for which ends of deployments and flushes of silent replicas are remembered
  ARGV[13] ms by which a deployment may seem to start later than it ended
  ARGV[14] sums kept in KEYS[8] and KEYS[9]
  ARGV[15] sums kept there, those of folded series included
  ARGV[16] ms until KEYS[8] and KEYS[9] expire
  ARGV[17] deployments kept in KEYS[10]
  ARGV[18] MessagePack of one array of strings: seven lists, each preceded by its length:
           totals (field, addend), endpoints (field, addend),
           deployments (id, 'started' or 'finished', ms),
           gauges (key, ms, value; '' removes the gauge), clients (tag, denials),
           hourly sums (1 for KEYS[8] or 2 for KEYS[9], field, field of the folded series, addend),
           deployments that cost by the hour (id, ms, state of a new one or '' if it was deleted)
  returns  1 if the flush was added, 0 if it had been added before ]]

local replica, number, connections, now = ARGV[1], tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4])
local max_endpoints, max_gauges = tonumber(ARGV[5]), tonumber(ARGV[6])
local max_deployments, max_clients, clients_lifetime = tonumber(ARGV[7]), tonumber(ARGV[8]), ARGV[9]
local report_lifetime, max_deployment_age = tonumber(ARGV[10]), tonumber(ARGV[11])
local memory_of_ends, start_tolerance = tonumber(ARGV[12]), tonumber(ARGV[13])
local max_sums, max_folded, day_lifetime = tonumber(ARGV[14]), tonumber(ARGV[15]), ARGV[16]
local max_priced = tonumber(ARGV[17])

local known = redis.call('HGET', KEYS[1], replica)
-- Before the flush is marked as added: where this command is not allowed, nothing is lost.
if not known then redis.call('HSETNX', KEYS[2], 'since', ARGV[4]) end
local last = known and tonumber(string.match(known, '^(%d+) ')) or 0
local entry = string.format('%d %d %s', math.max(last, number), now, connections)
redis.call('HSET', KEYS[1], replica, entry)
if not known then
  -- Replicas that stopped long ago are removed here, because a new replica is a rare event.
  local replicas = redis.call('HGETALL', KEYS[1])
  for i = 1, #replicas, 2 do
    local flushed = tonumber(string.match(replicas[i + 1], '^%d+ (%d+)'))
    if not flushed or now - flushed > memory_of_ends then
      redis.call('HDEL', KEYS[1], replicas[i])
    end
  end
end
if number <= last then return 0 end

local lists, at = cmsgpack.unpack(ARGV[18]), 0
local function next_argument()
  at = at + 1
  return lists[at]
end

-- HINCRBY fails when a sum would exceed 64 bits. That sum then stays as it is, and the others are
-- added.
for _ = 1, tonumber(next_argument()) do
  local field, addend = next_argument(), next_argument()
  redis.pcall('HINCRBY', KEYS[2], field, addend)
end

local endpoints = redis.call('HLEN', KEYS[3])
for _ = 1, tonumber(next_argument()) do
  local field, addend = next_argument(), next_argument()
  if endpoints < max_endpoints or redis.call('HEXISTS', KEYS[3], field) == 1 then
    redis.pcall('HINCRBY', KEYS[3], field, addend)
  end
end

redis.call('ZREMRANGEBYSCORE', KEYS[5], '-inf', now - max_deployment_age)
redis.call('ZREMRANGEBYSCORE', KEYS[6], '-inf', now - memory_of_ends)
for _ = 1, tonumber(next_argument()) do
  local id, phase, when = next_argument(), next_argument(), next_argument()
  if phase == 'finished' then
    redis.call('ZREM', KEYS[5], id)
    if redis.call('ZCARD', KEYS[6]) < max_deployments then redis.call('ZADD', KEYS[6], when, id) end
  else
    -- The end may be reported through another replica, and arrive before the start.
    local finished = redis.call('ZSCORE', KEYS[6], id)
    local is_over = finished and tonumber(finished) + start_tolerance >= tonumber(when)
    if not is_over and redis.call('ZCARD', KEYS[5]) < max_deployments then
      redis.call('ZADD', KEYS[5], 'NX', when, id)
    end
  end
end

local function reported(report)
  return tonumber(string.match(report, '^(%d+) ')) or 0
end

-- Removes expired reports. If that is not enough, also removes the tenth of the gauges with the
-- oldest reports. Returns how many gauges are left.
local function make_room_for_gauges()
  local all = redis.call('HGETALL', KEYS[4])
  for i = 1, #all, 2 do
    local is_of_an_instance = string.match(all[i], '^[^\31]*\31[^\31]')
    if is_of_an_instance and now - reported(all[i + 1]) >= report_lifetime then
      redis.call('HDEL', KEYS[4], all[i])
    end
  end
  local left = redis.call('HLEN', KEYS[4])
  if left < max_gauges then return left end
  local oldest = {}
  all = redis.call('HGETALL', KEYS[4])
  for i = 1, #all, 2 do oldest[#oldest + 1] = { reported(all[i + 1]), all[i] } end
  table.sort(oldest, function(a, b) return a[1] < b[1] end)
  for i = 1, math.ceil(max_gauges / 10) do
    left = left - redis.call('HDEL', KEYS[4], oldest[i][2])
  end
  return left
end

local gauges = redis.call('HLEN', KEYS[4])
local made_room = false
for _ = 1, tonumber(next_argument()) do
  local key, when, value = next_argument(), next_argument(), next_argument()
  local report = redis.call('HGET', KEYS[4], key)
  if not report and gauges >= max_gauges and not made_room then
    made_room = true
    gauges = make_room_for_gauges()
  end
  local is_outdated = report and reported(report) > tonumber(when)
  if not is_outdated then
    if value == '' then
      gauges = gauges - redis.call('HDEL', KEYS[4], key)
    elseif report or gauges < max_gauges then
      gauges = gauges + redis.call('HSET', KEYS[4], key, when .. ' ' .. value)
    end
  end
end

local clients = tonumber(next_argument())
for _ = 1, clients do
  local tag, denials = next_argument(), next_argument()
  redis.call('ZINCRBY', KEYS[7], denials, tag)
end
if clients > 0 then
  redis.call('ZREMRANGEBYRANK', KEYS[7], 0, -(max_clients + 1))
  redis.call('PEXPIRE', KEYS[7], clients_lifetime)
end

local function has_room(key, field, max)
  return redis.call('HLEN', key) < max or redis.call('HEXISTS', key, field) == 1
end

local hourly_sums = tonumber(next_argument())
for _ = 1, hourly_sums do
  local key = KEYS[7 + tonumber(next_argument())]
  local field, folded, addend = next_argument(), next_argument(), next_argument()
  if has_room(key, field, max_sums) then
    redis.pcall('HINCRBY', key, field, addend)
  elseif has_room(key, folded, max_folded) then
    redis.pcall('HINCRBY', key, folded, addend)
  end
end
if hourly_sums > 0 then
  for i = 8, 9 do redis.call('PEXPIRE', KEYS[i], day_lifetime) end
end

-- Keeps a deployment that was deleted until it is charged.
local function keep_ended(id, state, when)
  local since = string.match(state, '^%S+ (%-?%d+)')
  local ended = string.gsub(state, '^%S+', string.format('%d', when), 1)
  redis.call('HSET', KEYS[10], 'e' .. since .. ' ' .. id, ended)
end

redis.call('ZREMRANGEBYSCORE', KEYS[11], '-inf', now - memory_of_ends)
for _ = 1, tonumber(next_argument()) do
  local id, when, state = next_argument(), tonumber(next_argument()), next_argument()
  local running = redis.call('HGET', KEYS[10], 'r' .. id)
  if state == '' then
    local mark = running and 'm' or 'u'
    if running then
      redis.call('HDEL', KEYS[10], 'r' .. id)
      keep_ended(id, running, when)
    end
    if redis.call('ZCARD', KEYS[11]) < max_deployments then
      redis.call('ZADD', KEYS[11], when, mark .. id)
    end
  elseif not running and redis.call('HLEN', KEYS[10]) < max_priced then
    local function deleted_later(mark)
      local deleted = redis.call('ZSCORE', KEYS[11], mark .. id)
      deleted = deleted and tonumber(deleted)
      return deleted and deleted + start_tolerance >= when and deleted
    end
    -- A creation that is reported twice is one of a deployment that was running.
    local is_duplicate, deleted = deleted_later('m'), deleted_later('u')
    if deleted and not is_duplicate then
      keep_ended(id, state, math.max(deleted, when))
      redis.call('ZREM', KEYS[11], 'u' .. id)
      redis.call('ZADD', KEYS[11], deleted, 'm' .. id)
    elseif not is_duplicate then
      redis.call('HSET', KEYS[10], 'r' .. id, state)
    end
  end
end
return 1
