--[[ charge.lua: charges deployments for the time since they were last charged, each of them only if
  no other replica has done so since this one read them.                      state layout: 1
  KEYS     all in one slot
  KEYS[1]  hash of deployments that cost by the hour, as stats.lua has it
  KEYS[2]  hash of the hourly sums of today: 'HOUR SERIES' -> sum
  KEYS[3]  the same of yesterday
  ARGV[1]  sums kept in KEYS[2] and KEYS[3]
  ARGV[2]  sums kept there, those of folded series included
  ARGV[3]  ms until KEYS[2] and KEYS[3] expire
  ARGV[4]  MessagePack of one array of strings: the number of deployments, and for each of them
           its field, the state that was read, the new state ('' removes it), and its amounts,
           preceded by their number (1 for KEYS[2] or 2 for KEYS[3], field, field of the folded
           series, addend)
  returns  for each deployment 1 if it was charged, 0 if its state was another ]]

local max_sums, max_folded, day_lifetime = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3]
local list, at = cmsgpack.unpack(ARGV[4]), 0
local function next_argument()
  at = at + 1
  return list[at]
end

local function has_room(key, field, max)
  return redis.call('HLEN', key) < max or redis.call('HEXISTS', key, field) == 1
end

local results = {}
for i = 1, tonumber(next_argument()) do
  local field, before, after = next_argument(), next_argument(), next_argument()
  local is_unchanged = redis.call('HGET', KEYS[1], field) == before
  results[i] = is_unchanged and 1 or 0
  if is_unchanged then
    if after == '' then
      redis.call('HDEL', KEYS[1], field)
    else
      redis.call('HSET', KEYS[1], field, after)
    end
  end
  for _ = 1, tonumber(next_argument()) do
    local key = KEYS[1 + tonumber(next_argument())]
    local sum, folded, addend = next_argument(), next_argument(), next_argument()
    if is_unchanged then
      -- HINCRBY fails when a sum would exceed 64 bits. That sum then stays as it is.
      if has_room(key, sum, max_sums) then
        redis.pcall('HINCRBY', key, sum, addend)
      elseif has_room(key, folded, max_folded) then
        redis.pcall('HINCRBY', key, folded, addend)
      end
    end
  end
end
for i = 2, 3 do redis.call('PEXPIRE', KEYS[i], day_lifetime) end
return results
