--[[ check.lua: decides a batch of checks in their order, each all or nothing, and writes every
     changed bucket once. A bucket whose state has to be repaired is written too, whatever was
     decided: one that was written under another rate or calendar, or before this server's clock
     stepped back.
                                                                            state layouts: 1 to 12

  KEYS[k]  bucket k, each once, and then the records of holds, each once; all in one slot
  ARGV[1]  MessagePack of { limits, checks, newest, epoch, others }: two flat arrays of whole
           numbers; the newest layout that may be written, since every replica of the fleet reads
           it; the time in us since when the store remembers, or 0 if that does not matter; and a
           third flat array, if a limit is not a token bucket
           limits  4 numbers per limit: refill tokens, refill us (in lowest terms: that many tokens
                   come back in that many us), and the time to fill an empty bucket: us, fraction.
                   For any other limit: 0, its row in `others` (from 1), 0, 0
           others  7 numbers per limit: its kind, the most tokens that may count, and for
                   1 a window of the calendar, as the caller sees it: 1 if denied costs count too
                     else 0; its start, its end and the end of the next one, in s; the length of a
                     term in us for which tokens are held, or 0 if what is held is used
                   2 a window whose borders are a period apart: 1 if denied costs count too else 0;
                     the period, and a time at which a window begins, in s; 0; a term, as for 1
                   3 a sliding window of ten slices: the length of a slice in us; 0; 0; 0; 0
                   4 slots, which are taken for a term: the length of a term in us; 0; 0; 0; 0
           checks  3 numbers for a simple check, which takes a cost of whole us from one bucket
                   under a limit that denies: bucket (index into KEYS), limit (from 1), and the time
                   that the cost needs to come back, in us.
                   For any other check: 0, action (0 take, 1 peek, 2 charge, 3 give back, 4 reset,
                   5 lend, 6 end a lease; of holds 7 reserve, 8 extend, 9 settle, 10 undo; 11 renew
                   what was taken), number of parts, then 5 numbers per part: bucket, limit, and
                   - lend: what is wanted and the least that is lent, both in us of refill; 0
                   - end a lease: its term; what was lent and what was not spent, in us
                   - settle, undo: 1 if the cost is given back, 0 if it is charged, and the cost
                   - others: 1 if the limit denies else 0, and the time that the cost needs to come
                     back: us, fraction
                   Under a limit of `others`, the last two are the cost in tokens, and
                   - give back, settle, undo, renew: when it was taken, in us, or 0 if that is not
                     known; it is renewed as of now then
                   - extend: the cost that was held before, from a lifetime before its end on
                   - settle, undo of a window with a term: the tokens that were held since then, of
                     which the cost is what was used beyond them
                   - others: 0
                   A step of a hold has 5 numbers behind its parts: record (1 is the last of KEYS);
                   its lifetime; the time at which that ends, or 0 for reserve, both in us; and the
                   digests of two costs
                   - reserve: what is held; 0
                   - extend: what is held then; what was held before
                   - settle: what it came to; 0
                   - undo: what is held; what was held before, or 0
  returns  { now in us (this server's TIME),
             one character per check: '1' allowed, '0' denied, 'u' undecided, since the layout of a
             bucket or record is unknown, or may not be written, 'w' undecided, since a window of
             the calendar is not the one of `now`; for a step of a hold also 'l' allowed, without a
             record, 'r' repeated, 'c' conflict,
             the state of every key before the call, one behind the other: the byte 0 if there was
             none, and 255 if its layout is unknown,
             the us of refill that each check lent which lent any, if there are such checks }
           The caller computes from these what remains and when to retry, so that this script
           formats no numbers but those that it stores. One text of all states costs both sides
           less than an array of them; the layout of each says where it ends.

  A fraction counts units of 1 / refill tokens of a us, and is less than one us. All numbers are
  whole and below 2^53, so that doubles are exact; only a change of the rate takes more bits. The
  state of a token bucket is `empty`, the instant at which its line of tokens crosses zero. The
  arithmetic is that of the core's token_bucket.rs, window.rs, slices.rs and slots.rs, line by line.

  State as stored, big-endian, with the size of each field in bytes:
    layout 1  1 (1), empty us (7), refill us (4)
              one token per `refill us`, no debt
    layout 2  2 (1), empty us (7), refill ms (4)
              one token per `refill ms`, no debt
    layout 3  3 (1), empty us (7), fraction (5), refill tokens (5), refill us (7)
              any other rate, no debt
    layout 4  4 (1), as layout 3, then the time of the debt in us (7)
              a debt
    layout 5  5 (1), empty us (7), refill tokens (1), fraction (1), refill s (2)
              few tokens in a whole number of seconds, no debt
    layout 6  6 (1), as layout 4, where the time is 0 without a debt; then the term (4), and what
              replicas hold of the bucket's tokens, in us of refill: granted in the term before (7)
              and in this one (7)
              any rate, leased
    layout 7  7 (1), 1 held or 2 settled (1), digest of the costs (6), parts of the last step that
              were not taken: a bit for each of the first 32, the first one lowest (4), the end of
              its lifetime in us (7)
              the record of a hold
    layout 8  8 (1), end in s (5), tokens used (6)
              a window of the calendar, or of a period
    layout 9  9 (1), newest slice: the time in slices (5), tokens used in it and in each of the ten
              before it (11 times 2)
              a sliding window
    layout 10 10 (1), newest slice (5), tokens used (11 times 5)
              a sliding window with more tokens in a slice
    layout 11 11 (1), term: the time in terms (4), slots of the term before (3), of this one (4)
              slots
    layout 12 12 (1), as layout 8, then the length of a term in ms (4), term: the time in terms (4),
              tokens held since the term before (6), since this one (6)
              a window of which tokens are held
  A layout of 12 bytes costs Redis 16 bytes per bucket less than layout 3. Every build reads the
  layouts 1 to 4, and between them they hold the state of any token bucket.
  A state expires when its bucket is full, or nothing counts any more, rounded up to a ms. That of a
  window stays for MAX_CLOCK_STEP longer, since a clock that steps back over its end would find the
  whole quota otherwise. The expiry is an absolute time, since Redis counts relative ones from a
  time that it read before this script did.
  A record expires when the lifetime of its hold ends, also rounded up to a ms.
  The key of a bucket that holds less than one token when tokens are returned to it (give back,
  reset, the end of a lease, settle, undo) is published on the channel `prefix:returned`, so that no
  replica denies by what it knew. Of slots no replica knows anything.
  A token bucket without a state is full. With an epoch, it was empty then and has refilled since,
  so that a full one must have a state until it would have filled since the epoch. In a bucket of
  another limit nothing is used then, whenever the store began to remember. ]]

local MAX_CLOCK_STEP = 1000000                        -- us; the core's MAX_CLOCK_STEP_US
local MAX_FILL = 50 * 365 * 24 * 60 * 60 * 1000000    -- us; the core's MAX_FILL_US
local EXACT = 2 ^ 53                                  -- doubles below are exact if they are whole
local TERM = 1000000                                  -- us; the core's TERM_US
local PEEK, RESERVE, UNDO = 1, 7, 10
local HELD, SETTLED = 1, 2
local UNKNOWN, LEASED = 1, 2

local call, floor, ceil, abs = redis.call, math.floor, math.ceil, math.abs
local format, byte, concat = string.format, string.byte, table.concat
local pack, unpack_state = struct.pack, struct.unpack

local time = call('TIME')
local now = time[1] * 1000000 + time[2]
local latest, deepest = now + MAX_CLOCK_STEP, now + MAX_FILL

local plan = cmsgpack.unpack(ARGV[1])
local limits, checks, newest, epoch = plan[1], plan[2], plan[3], plan[4]
if epoch == 0 then
  epoch = -math.huge
end

-- By limit: the rate, the time to fill, the `empty` of a full bucket, the whole us of that of one
-- without a state, or false if that has to be repaired, and `interval`, the us in which one token
-- comes back, or false if that is no whole number.
local refill_tokens, refill_us, fill_us, fill_fraction = {}, {}, {}, {}
local full_us, full_fraction, absent_us, interval = {}, {}, {}, {}
for at = 1, #limits, 4 do
  local limit = (at + 3) / 4
  local tokens, fill, rest = limits[at], limits[at + 2], limits[at + 3]
  refill_tokens[limit], refill_us[limit] = tokens, limits[at + 1]
  fill_us[limit], fill_fraction[limit] = fill, rest
  if rest > 0 then
    full_us[limit], full_fraction[limit] = now - fill - 1, tokens - rest
  else
    full_us[limit], full_fraction[limit] = now - fill, 0
  end
  local full = full_us[limit]
  absent_us[limit] = epoch <= full and full or epoch < latest and epoch
  interval[limit] = tokens == 1 and limits[at + 1] or false
end

-- The token buckets, by index into KEYS. A bucket without `us` has no state. Most have neither a
-- fraction nor a debt: `whole` is the us per token of such a bucket. The tables in the second line
-- are for the other buckets. `leases` has an array { term, earlier, current } for each bucket of
-- which tokens are leased. `records` has an array { state, digest, missed, end } for each hold, or
-- false if its record is removed. `rare` has the keys that are no token bucket which can be read,
-- and those of buckets that are leased. `unread` has the states of the former that are no records.
local us, whole = {}, {}
local fraction, state_tokens, state_us, indebted = {}, {}, {}, {}
local leases, rare, records, unread = {}
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
      _, us[k], fraction[k], state_tokens[k], state_us[k], indebted[k] =
        unpack_state('>BI7I5I5I7I7', state)
    elseif layout == 6 and length == 50 then
      local debt, term, earlier, current
      _, us[k], fraction[k], state_tokens[k], state_us[k], debt, term, earlier, current =
        unpack_state('>BI7I5I5I7I7I4I7I7', state)
      indebted[k] = debt > 0 and debt or nil
      leases[k] = { term, earlier, current }
      rare = rare or {}
      rare[k] = LEASED
    elseif layout == 7 and length == 19 then
      local kind, digest, missed, ends_at
      _, kind, digest, missed, ends_at = unpack_state('>BBI6I4I7', state)
      if (kind == HELD or kind == SETTLED) and digest > 0 then
        records = records or {}
        records[k] = { kind, digest, missed, ends_at }
      end
    end
    -- The layout is unknown or no token bucket's, or its numbers are none that a version writes.
    local micros, tokens = whole[k] or state_us[k] or 0, state_tokens[k] or 1
    if micros == 0 or tokens == 0 or (fraction[k] or 0) >= tokens or us[k] >= EXACT then
      us[k], whole[k], fraction[k] = nil, nil, nil
      state_tokens[k], state_us[k], indebted[k], leases[k] = nil, nil, nil, nil
      if not (records and records[k]) then
        unread = unread or {}
        unread[k], stored[k] = state, '\255'
      end
      rare = rare or {}
      rare[k] = UNKNOWN
    end
  else
    stored[k] = '\0'
  end
end

-- Sets a bucket. A full one is removed at once, so that it equals an unused one for the rest of the
-- batch, unless an unused one is not full yet.
local changed = {}
local function put(k, limit, e, f, d, leased)
  changed[k], leases[k] = limit, leased
  if leased then
    rare = rare or {}
    rare[k] = LEASED
    us[k], whole[k] = e, nil
    fraction[k], indebted[k] = f, d
    state_tokens[k], state_us[k] = refill_tokens[limit], refill_us[limit]
  elseif e == full_us[limit] and f == full_fraction[limit] and epoch <= e then
    us[k] = nil
  elseif interval[limit] and not d then
    us[k], whole[k] = e, interval[limit]
  else
    us[k], whole[k] = e, nil
    fraction[k], indebted[k] = f, d
    state_tokens[k], state_us[k] = refill_tokens[limit], refill_us[limit]
  end
end

-- Returns the age in us of a bucket under a limit that holds as many tokens as one of `age`, less
-- a fraction, at another rate: (age * tokens - f) * refill_us / (micros * refill_tokens), rounded
-- down. Doubles may miss it by one, and rounded up it would make tokens.
local function converted(age, f, tokens, micros, limit)
  local to_tokens, to_micros = refill_tokens[limit], refill_us[limit]
  local parts, per_us = (age * tokens - f) * to_micros, micros * to_tokens
  local guess = floor(parts / per_us)
  if (abs(parts) < EXACT and per_us < EXACT) or abs(guess) > MAX_FILL then
    return guess
  end
  -- Adds sign * a * b * c to a sum in limbs of 16 bits, the lowest first. Each factor is whole and
  -- has at most four limbs, so no limb of a sum of three such products exceeds 2^53.
  local function add_product(sum, sign, a, b, c)
    for i = 0, 3 do
      local x = sign * (floor(a / 65536 ^ i) % 65536)
      for j = 0, x ~= 0 and 3 or -1 do
        local xy = x * (floor(b / 65536 ^ j) % 65536)
        for k = 0, xy ~= 0 and 3 or -1 do
          local at = i + j + k + 1
          sum[at] = (sum[at] or 0) + xy * (floor(c / 65536 ^ k) % 65536)
        end
      end
    end
  end
  local function is_too_much(candidate)
    local sum, carry, is_zero = {}, 0, true
    add_product(sum, candidate < 0 and -1 or 1, abs(candidate), micros, to_tokens)
    add_product(sum, 1, f, to_micros, 1)
    add_product(sum, age < 0 and 1 or -1, abs(age), tokens, to_micros)
    for at = 1, 10 do
      local limb = (sum[at] or 0) + carry
      carry = floor(limb / 65536)
      is_zero = is_zero and limb % 65536 == 0
    end
    return carry > 0 or (carry == 0 and not is_zero)
  end
  while is_too_much(guess) do
    guess = guess - 1
  end
  while not is_too_much(guess + 1) do
    guess = guess + 1
  end
  return guess
end

-- Returns a bucket without what it would hold at the time `at` beyond the burst minus `out`.
local function capped(limit, e, f, d, at, out)
  local full, rest = full_us[limit] - now + at + out, full_fraction[limit]
  if e < full or (e == full and f < rest) then
    e, f = full, rest
    d = (e > now or (e == now and f > 0)) and now or nil
  end
  return e, f, d
end

-- Ends the leases whose time is over. Returns the bucket, its leases, and whether they changed.
local function follow_leases(limit, e, f, d, term, earlier, current)
  local now_term, moved = floor(now / TERM), false
  if term > now_term + 3 then
    term, earlier, current, moved = now_term + 3, 0, earlier + current, true
  end
  while term < now_term and earlier + current > 0 do
    e, f, d = capped(limit, e, f, d, (term + 1) * TERM, earlier + current)
    term, earlier, current, moved = term + 1, current, 0, true
  end
  if earlier + current == 0 then
    return e, f, d, nil, moved
  end
  return e, f, d, { term, earlier, current }, moved
end

-- Returns the bucket for a limit at `now`: `empty` in the limit's units, its fraction, the time of
-- its debt, and its leases. The bucket never has more than the burst minus what is leased, and
-- without a debt `empty` is at most MAX_CLOCK_STEP ahead of a clock that stepped back. A state that
-- had to be repaired is set at once. A full bucket is not: removed, it would be full under a higher
-- burst too.
local function settled(k, limit)
  local DEBT_TIME = 500000                            -- us; the core's DEBT_TIME_US
  local e, f, tokens, micros, d = us[k], 0, 1, whole[k], nil
  if not e then
    if epoch <= full_us[limit] then
      return full_us[limit], full_fraction[limit], nil
    end
    e, tokens, micros = epoch, refill_tokens[limit], refill_us[limit]
  elseif not micros then
    f, tokens, micros, d = fraction[k], state_tokens[k], state_us[k], indebted[k]
  end
  local repaired, leased = false, leases[k]
  if d then
    local ahead = d - now
    if ahead > DEBT_TIME then
      e, d, repaired = e - (ahead - DEBT_TIME), d - (ahead - DEBT_TIME), true
    elseif ahead <= -DEBT_TIME then
      d, repaired = now, true
    end
    if e < now or (e == now and f == 0) then
      d, repaired = nil, true
    end
  elseif e > latest or (e == latest and f > 0) then
    e, f, repaired = latest, 0, true
  end
  if micros ~= refill_us[limit] or tokens ~= refill_tokens[limit] then
    -- The tokens are counted at the end of the time for which the bucket stands still, if it does.
    local at = d or (f > 0 and e + 1 or e)
    if at < now then
      at = now
    end
    e, f = at - converted(at - e, f, tokens, micros, limit), 0
    if e > deepest then
      e = deepest
    end
    repaired = true
  end
  if leased then
    local term, earlier, current, moved = leased[1], leased[2], leased[3], false
    if micros ~= refill_us[limit] or tokens ~= refill_tokens[limit] then
      -- Returns a span of leases at this rate, rounded up.
      local function longer(span)
        return math.min(converted(span, 0, tokens, micros, limit), MAX_FILL) + 1
      end
      earlier = earlier > 0 and longer(earlier) or 0
      current = current > 0 and longer(current) or 0
      -- The burst under which the bucket refilled until now is not known.
      e, f, d = capped(limit, e, f, d, now, earlier + current)
    end
    e, f, d, leased, moved = follow_leases(limit, e, f, d, term, earlier, current)
    repaired = repaired or moved
    if leased then
      e, f, d = capped(limit, e, f, d, now, leased[2] + leased[3])
      if repaired then
        put(k, limit, e, f, d, leased)
      end
      return e, f, d, leased
    end
  end
  local full = full_us[limit]
  if e < full or (e == full and f <= full_fraction[limit]) then
    return full, full_fraction[limit], nil
  end
  if repaired then
    put(k, limit, e, f, d)
  end
  return e, f, d
end

-- Limits that are no token buckets, of which few calls have any: `others` has each of them by its
-- number, with `most`, the most that may count, and with the functions of its algorithm:
--   settled(state)                     returns the state at `now`, also if there is none yet, and
--                                      whether it had to be repaired
--   used(state)                        returns what counts
--   taken(state, cost)                 returns the state after that
--   reserved(state, cost)              the same, of a cost that is held until it is settled
--   given_back(state, cost, taken_at)  the same; nil if what was taken then counts no more
--   renewed(state, cost, taken_at)     the same
--   held_on(state, cost, since)        the same, of what was held before it is extended
--   packed(state)                      returns what is stored, and when it expires, in us
-- A state is never changed: each of these makes another one. `counts` has those in which something
-- counts, by index into KEYS, and `recounted` the limits of those that changed.
local others, counts, recounted
local doubt, keep, look
if plan[5] then
  others, counts, recounted = {}, {}, {}
  local counted_by = {}
  local min, max = math.min, math.max
  local now_s = floor(now / 1000000)
  local windows, slices, slots = {}, {}, {}
  local algorithms, rows = { windows, windows, slices, slots }, plan[5]
  windows.__index, slices.__index, slots.__index = windows, slices, slots
  for limit = 1, #refill_tokens do
    if refill_tokens[limit] == 0 then
      local at = 7 * refill_us[limit] - 6
      local kind = rows[at]
      local other = { algorithm = algorithms[kind], most = rows[at + 1] }
      if kind == 1 then
        other.start, other.ends_at, other.next_end = rows[at + 3], rows[at + 4], rows[at + 5]
        other.is_stale = now_s < other.start or now_s >= other.ends_at
      elseif kind == 2 then
        local period = rows[at + 3]
        other.start = now_s - (now_s - rows[at + 4]) % period
        other.ends_at, other.next_end = other.start + period, other.start + 2 * period
      else
        other.length = rows[at + 2]
      end
      if kind <= 2 and rows[at + 6] > 0 then
        other.term = rows[at + 6]
      end
      other.counts_denied, other.is_published = kind <= 2 and rows[at + 2] == 1, kind <= 3
      other.is_renewed = kind == 4 or other.term
      others[limit] = setmetatable(other, other.algorithm)
    end
  end

  -- What is held for a term and until the end of the next one: { term, earlier, current }.
  local function held_in(other, term, earlier, current)
    local most = other.algorithm == slots and 2 ^ 32 or 2 ^ 48
    local most_earlier = other.algorithm == slots and 2 ^ 24 or 2 ^ 48
    earlier, current = min(earlier, most_earlier - 1), min(current, most - 1)
    return { term = term, earlier = earlier, current = current }
  end

  -- Returns what is held at `now`, in terms of `length`, and whether the clock stepped back so far
  -- that it had to be brought closer.
  local function followed(other, held, length)
    local term = floor(now / length)
    local sum = held and held.earlier + held.current or 0
    local by = sum > 0 and term - held.term or 2
    if by > 1 then
      return held_in(other, term, 0, 0), false
    elseif by == 1 then
      return held_in(other, term, held.current, 0), false
    elseif by >= -3 then
      return held, false
    end
    return held_in(other, term + 3, 0, sum), true
  end

  -- Returns what is held without `cost`, which was taken so many terms ago; nil if that counts no
  -- more.
  local function released(other, held, cost, age)
    if age > 1 then
      return nil
    end
    local back = age == 1 and min(cost, held.earlier) or 0
    return held_in(other, held.term, held.earlier - back, max(held.current - (cost - back), 0))
  end

  -- Returns what is held, of which `cost` counts from now on, which was taken so many terms ago;
  -- nil if that counts no more.
  local function renewed(other, held, cost, age)
    if age > 1 then
      return nil
    elseif age < 1 then
      return held
    end
    return held_in(other, held.term, max(held.earlier - cost, 0), held.current + cost)
  end

  -- A window: { ends_at in s, used, and if it has a term, what is held with the length of a term }.
  function windows:settled(state)
    local ends_at, used, repaired = self.ends_at, 0, false
    if state and state.ends_at > now_s then
      local is_next = state.ends_at == self.next_end and now_s + 1 >= ends_at
      used = state.used
      if state.ends_at == ends_at or is_next then
        ends_at = state.ends_at
      else
        repaired = true
      end
    end
    local held, length = state and state.held, state and state.length
    if self.term then
      local before, ahead = held, false
      held, ahead = followed(self, held, length or self.term)
      if before and length ~= self.term then
        ahead = before.earlier + before.current > 0
        held = held_in(self, floor(now / self.term), 0, held.earlier + held.current)
      end
      length, repaired = self.term, repaired or ahead
    elseif held then
      repaired = repaired or held.earlier + held.current > 0
      held = followed(self, held, length)
      used = min(used + held.earlier + held.current, 2 ^ 48 - 1)
      held, length = nil, nil
    end
    return { ends_at = ends_at, used = used, held = held, length = length }, repaired
  end

  -- Returns the window with another number of tokens used, or held.
  local function window_with(state, used, held)
    return { ends_at = state.ends_at, used = used, held = held, length = state.length }
  end

  function windows:used(state)
    return state.used + (state.held and state.held.earlier + state.held.current or 0)
  end

  function windows:taken(state, cost)
    return window_with(state, min(state.used + cost, 2 ^ 48 - 1), state.held)
  end

  function windows:reserved(state, cost)
    if not self.term then
      return self:taken(state, cost)
    end
    local held = state.held
    held = held_in(self, held.term, held.earlier, held.current + cost)
    return window_with(state, state.used, held)
  end

  function windows:given_back(state, cost, taken_at)
    local start = state.ends_at == self.ends_at and self.start or self.ends_at
    if taken_at ~= 0 and taken_at < start * 1000000 then
      return nil
    end
    return window_with(state, max(state.used - cost, 0), state.held)
  end

  function windows:renewed(state)
    return state
  end

  function windows:held_on(state, cost, since)
    if not self.term or cost == 0 then
      return state
    end
    local held = renewed(self, state.held, cost, state.held.term - floor(since / self.term))
    if not held then
      return self:reserved(state, cost)
    end
    return window_with(state, state.used, held)
  end

  -- Ends a hold. Returns nil if it counts no more.
  function windows:ended(state, cost, since)
    local held = released(self, state.held, cost, state.held.term - floor(since / self.term))
    return held and window_with(state, state.used, held)
  end

  function windows:packed(state)
    local ends_at, used, held = state.ends_at, state.used, state.held
    local expires_at = used > 0 and ends_at * 1000000 + MAX_CLOCK_STEP or 0
    if not held or held.earlier + held.current == 0 then
      return pack('>BI5I6', 8, ends_at, used), expires_at
    end
    local term, earlier, current = held.term, held.earlier, held.current
    local held_until = (term + (current > 0 and 2 or 1)) * state.length
    local length = state.length / 1000
    return pack('>BI5I6I4I4I6I6', 12, ends_at, used, length, term, earlier, current),
      max(expires_at, held_until)
  end

  -- A sliding window: { newest slice, [1] used in it, ... [11] used in the oldest one }.
  function slices:settled(state)
    local slice = floor(now / self.length)
    local by = state and slice - state.newest or 11
    if by == 0 or (by < 0 and state.newest <= floor(latest / self.length)) then
      return state, false
    end
    local moved = { newest = slice }
    for i = 1, 11 do
      moved[i] = state and state[i - max(by, 0)] or 0
    end
    return moved, by < 0
  end

  function slices:used(state)
    local used = 0
    for i = 1, 11 do
      used = used + state[i]
    end
    return used
  end

  function slices:taken(state, cost)
    local after = { newest = state.newest, unpack(state) }
    after[1] = min(after[1] + cost, 2 ^ 40 - 1)
    return after
  end

  function slices:given_back(state, cost, taken_at)
    local age = taken_at ~= 0 and state.newest - floor(taken_at / self.length) or 10
    if age > 10 then
      return nil
    end
    local after = { newest = state.newest, unpack(state) }
    for i = max(age, 0) + 1, 1, -1 do
      local back = min(cost, after[i])
      after[i], cost = after[i] - back, cost - back
    end
    return after
  end

  slices.renewed, slices.held_on, slices.reserved = windows.renewed, windows.renewed, slices.taken

  function slices:packed(state)
    local layout, size, last = 9, 'I2', 0
    for i = 11, 1, -1 do
      if state[i] > 0 then
        last = i
      end
      if state[i] >= 65536 then
        layout, size = 10, 'I5'
      end
    end
    local expires_at = (state.newest + 12 - last) * self.length
    return pack('>BI5' .. size:rep(11), layout, state.newest, unpack(state)), expires_at
  end

  -- Slots: what is held of them.
  function slots:settled(state)
    return followed(self, state, self.length)
  end

  function slots:used(state)
    return state.earlier + state.current
  end

  function slots:taken(state, cost)
    return held_in(self, state.term, state.earlier, state.current + cost)
  end

  function slots:given_back(state, cost, taken_at)
    local age = taken_at ~= 0 and state.term - floor(taken_at / self.length) or 1
    return released(self, state, cost, age)
  end

  function slots:renewed(state, cost, taken_at)
    local at = taken_at ~= 0 and taken_at or now
    return renewed(self, state, cost, state.term - floor(at / self.length))
  end

  slots.reserved, slots.held_on = slots.taken, slots.renewed

  function slots:packed(state)
    local expires_at = (state.term + (state.current > 0 and 2 or 1)) * self.length
    return pack('>BI4I3I4', 11, state.term, state.earlier, state.current), expires_at
  end

  for k, state in pairs(unread or {}) do
    local layout, length = byte(state), #state
    local _
    if layout == 8 and length == 12 then
      local ends_at, used
      _, ends_at, used = unpack_state('>BI5I6', state)
      counts[k], counted_by[k] = { ends_at = ends_at, used = used }, windows
    elseif layout == 12 and length == 32 then
      local ends_at, used, ms, term, earlier, current
      _, ends_at, used, ms, term, earlier, current = unpack_state('>BI5I6I4I4I6I6', state)
      -- No version writes a term of nothing.
      if ms > 0 then
        local held = { term = term, earlier = earlier, current = current }
        counts[k] = { ends_at = ends_at, used = used, held = held, length = ms * 1000 }
        counted_by[k] = windows
      end
    elseif (layout == 9 and length == 28) or (layout == 10 and length == 61) then
      local numbers = { unpack_state('>BI5' .. (layout == 9 and 'I2' or 'I5'):rep(11), state) }
      counts[k], counted_by[k] = { newest = numbers[2], unpack(numbers, 3, 13) }, slices
    elseif layout == 11 and length == 12 then
      local term, earlier, current
      _, term, earlier, current = unpack_state('>BI4I3I4', state)
      counts[k], counted_by[k] = { term = term, earlier = earlier, current = current }, slots
    end
    if counts[k] then
      stored[k] = state
    end
  end

  -- Returns why nothing can be decided about a bucket: 'u' or 'w'. Nil if it can.
  function doubt(k, other)
    local is_read = stored[k] == '\0' or counted_by[k] == other.algorithm
    if not is_read or newest < (other.term and 12 or 11) then
      return 'u'
    end
    return other.is_stale and 'w' or nil
  end

  -- Sets a bucket. One in which nothing counts is removed at once, as a full token bucket is.
  function keep(k, other, state)
    counts[k] = other:used(state) > 0 and state or nil
    recounted[k] = other
  end

  -- Returns the state of a bucket at `now`. One that had to be repaired is set at once.
  function look(k, other)
    local state, repaired = other:settled(counts[k])
    if repaired then
      keep(k, other, state)
    end
    return state
  end
end

-- Takes or peeks. Returns '1' if every limit that denies has the tokens, else '0'. A limit that
-- does not deny is debited only if it has the tokens. Every bucket is repaired in any case.
--
-- A cost that is held has `since`: false, or when the hold began that is extended. Under a limit of
-- `others`, what was held then is renewed first, and a denied cost may count too. `after_us` is
-- then the whole state after the take.
local after_us, after_fraction, after_leases = {}, {}, {}
local function take(first, parts, peek, since)
  local verdict = '1'
  for part = 1, parts do
    local at = first + 5 * (part - 1)
    local k, limit, cost = checks[at], checks[at + 1], checks[at + 3]
    local other = others and others[limit]
    if other then
      local state = look(k, other)
      if since then
        state = other:held_on(state, checks[at + 4], since)
      end
      local covered = state and other:used(state) + cost <= other.most
      if covered and since ~= nil then
        after_us[part] = other:reserved(state, cost)
      else
        after_us[part] = covered and other:taken(state, cost)
      end
    else
      local e, f, _, leased = settled(k, limit)
      e, f = e + cost, f + checks[at + 4]
      if f >= refill_tokens[limit] then
        e, f = e + 1, f - refill_tokens[limit]
      end
      local covered = e < now or (e == now and f == 0)
      after_us[part], after_fraction[part], after_leases[part] = covered and e, f, leased
    end
    if not after_us[part] and checks[at + 2] == 1 then
      verdict = '0'
    end
  end
  if verdict == '1' and not peek then
    for part = 1, parts do
      local at = first + 5 * (part - 1)
      local k, limit, after = checks[at], checks[at + 1], after_us[part]
      local other = others and others[limit]
      local costs = checks[at + 3] > 0
      if other and after and (costs or (other.is_renewed and checks[at + 4] > 0)) then
        keep(k, other, after)
      elseif not other and after and (costs or checks[at + 4] > 0) then
        put(k, limit, after, after_fraction[part], nil, after_leases[part])
      end
    end
  elseif others and not peek and not since then
    for at = first, first + 5 * (parts - 1), 5 do
      local k, other = checks[at], others[checks[at + 1]]
      if other and other.counts_denied and checks[at + 3] > 0 then
        keep(k, other, other:taken(look(k, other), checks[at + 3]))
      end
    end
  end
  return verdict
end

-- Takes from one bucket that is leased, under a limit that denies and whose tokens are whole us.
local function take_simple(k, limit, cost)
  local e, _, _, leased = settled(k, limit)
  e = e + cost
  if e > now then
    return '0'
  end
  if cost > 0 then
    put(k, limit, e, 0, nil, leased)
  end
  return '1'
end

-- Returns why a check cannot be decided: 'u' or 'w'. Nil if it can.
local function undecided(first, parts)
  for at = first, first + 5 * (parts - 1), 5 do
    local k, other = checks[at], others and others[checks[at + 1]]
    if other and doubt(k, other) then
      return doubt(k, other)
    elseif not other and rare and rare[k] == UNKNOWN then
      return 'u'
    end
  end
end

-- Returns the function that decides what is neither a take nor a peek, by the action, the first
-- part and the number of parts. It is made when a check needs it, as few calls have one.
-- `lent_spans` is what the checks lent. `ends` has the ends of the records of holds that changed.
local lent_spans, ends
local function make_change()
  local CHARGE, GIVE_BACK, RESET, LEND, END_LEASE = 2, 3, 4, 5, 6
  local EXTEND, SETTLE, RENEW = 8, 9, 11
  local min, max = math.min, math.max

  -- Publishes the key of a bucket. A user who may not publish gives back all the same.
  local function publish(k)
    redis.pcall('PUBLISH', KEYS[k]:match('^[^{]*') .. 'returned', KEYS[k])
  end

  -- Publishes the key of a token bucket, if it has less than one token.
  local function publish_empty(k, limit, e, f)
    local tokens, micros = refill_tokens[limit], refill_us[limit]
    e, f = e + floor(micros / tokens), f + micros % tokens
    if e > now or (e == now and f > 0) or (e == now - 1 and f > tokens) then
      publish(k)
    end
  end

  -- Repairs the bucket of a part, if it has to be.
  local function repair(at)
    local k, limit = checks[at], checks[at + 1]
    if others and others[limit] then
      look(k, others[limit])
    else
      settled(k, limit)
    end
  end

  -- Charges, gives back, resets or renews what counts under a limit of `others`. Returns false if
  -- what is to be renewed does not count any more. There is nothing to lend.
  local function recount(k, other, action, cost, taken_at)
    local state, after = look(k, other), nil
    if action == CHARGE then
      after = other:taken(state, cost)
    elseif action == RENEW then
      after = other:renewed(state, cost, taken_at)
    elseif action == GIVE_BACK or action == RESET then
      if other.is_published and other:used(state) >= other.most then
        publish(k)
      end
      after = action == RESET and other:settled(nil) or other:given_back(state, cost, taken_at)
    end
    if after and after ~= state then
      keep(k, other, after)
    end
    return after ~= nil or action == GIVE_BACK
  end

  -- Charges, gives back or resets a token bucket.
  local function adjust(at, action)
    local k, limit = checks[at], checks[at + 1]
    local e, f, _, leased = settled(k, limit)
    local tokens = refill_tokens[limit]
    if action >= GIVE_BACK then
      publish_empty(k, limit, e, f)
    end
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
    if leased then
      full = full + leased[2] + leased[3]
    end
    if action > GIVE_BACK or e < full or (e == full and f < rest) then
      e, f = full, rest
    end
    put(k, limit, e, f, (e > now or (e == now and f > 0)) and now or nil, leased)
  end

  -- Lends from a bucket. Returns whether it lent something.
  local function lend(at)
    local k, limit, want, least = checks[at], checks[at + 1], checks[at + 2], checks[at + 3]
    local e, f, d, leased = settled(k, limit)
    local now_term = floor(now / TERM)
    local term, earlier, current = now_term, 0, 0
    if leased then
      term, earlier, current = leased[1], leased[2], leased[3]
    end
    local held, span = now - e - (f > 0 and 1 or 0), 0
    if newest >= 6 and term == now_term and held > 0 then
      local most = floor(fill_us[limit] / 2) - earlier - current
      span = max(0, min(want, floor(held / 2), most))
      span = span - span % refill_us[limit]
    end
    if span == 0 or span < least then
      return false
    end
    put(k, limit, e + span, f, d, { term, earlier, current + span })
    lent_spans = lent_spans or {}
    lent_spans[#lent_spans + 1] = span
    return true
  end

  -- Ends a lease of a bucket. Returns whether it was out.
  local function end_lease(at)
    local k, limit, granted = checks[at], checks[at + 1], checks[at + 2]
    local lent, unspent = checks[at + 3], checks[at + 4]
    local e, f, d, leased = settled(k, limit)
    local term, earlier, current = 0, 0, 0
    if leased then
      term, earlier, current = leased[1], leased[2], leased[3]
    end
    if granted == term and lent <= current then
      current = current - lent
    elseif granted + 1 == term and lent <= earlier then
      earlier = earlier - lent
    else
      return false
    end
    if unspent > 0 then
      publish_empty(k, limit, e, f)
    end
    e = e - unspent
    d = (e > now or (e == now and f > 0)) and now or nil
    e, f, d = capped(limit, e, f, d, now, earlier + current)
    put(k, limit, e, f, d, earlier + current > 0 and { term, earlier, current } or nil)
    return true
  end

  -- Does the action to the bucket of a part. Returns whether it was done.
  local function apply(at, action, is_alone)
    local k, limit = checks[at], checks[at + 1]
    if others and others[limit] then
      return recount(k, others[limit], action, checks[at + 3], checks[at + 4])
    elseif action == LEND and is_alone then
      return lend(at)
    elseif action == END_LEASE then
      return end_lease(at)
    elseif action == LEND or action == RENEW then
      settled(k, limit)
      return action == RENEW
    end
    adjust(at, action)
    return true
  end

  -- Corrects what a part has taken for a hold, and ends what it holds apart since `since`. Nothing
  -- is given back or ended once the lifetime of the hold is over.
  local function correct(at, since, reserved_at, is_over)
    local k, returns, cost, last = checks[at], checks[at + 2] == 1, checks[at + 3], checks[at + 4]
    local other = others and others[checks[at + 1]]
    local is_nothing = (cost == 0 and (other or last == 0)) or (returns and is_over)
    if not (other and other.term) then
      if is_nothing then
        repair(at)
      else
        apply(at, returns and GIVE_BACK or CHARGE)
      end
      return
    end
    local state = look(k, other)
    local ends = last > 0 and not is_over
    local after = ends and other:ended(state, last, since) or state
    if not is_nothing and returns then
      after = other:given_back(after, cost, reserved_at) or after
    elseif not is_nothing then
      after = other:taken(after, cost)
    end
    if after ~= state then
      keep(k, other, after)
    end
  end

  -- Makes a step of a hold. Returns its verdict.
  local function step(first, parts, action)
    local row = first + 5 * parts
    local k, lifetime_end = #KEYS + 1 - checks[row], checks[row + 2]
    local reserved_at = lifetime_end - checks[row + 1]
    local digest, other = checks[row + 3], checks[row + 4]
    local record = records and records[k]
    if record == nil and stored[k] ~= '\0' then
      return 'u'
    end
    local held = record and record[1] == HELD and record[2]
    -- An extension may have been made that its caller has not heard of.
    local since = held and max(reserved_at, record[4] - checks[row + 1]) or reserved_at
    local verdict = '1'
    if action == RESERVE or (action == EXTEND and now < lifetime_end) then
      lifetime_end = now + checks[row + 1]
    end
    if action == RESERVE then
      verdict = record and (held == digest and 'r' or 'c') or '1'
    elseif action == EXTEND and record then
      verdict = held == other and '1' or held == digest and 'r' or 'c'
    elseif action == SETTLE and record and not held then
      verdict = record[2] == digest and 'r' or 'c'
    elseif action > SETTLE and held ~= digest then
      verdict = 'r'
    elseif action <= SETTLE and not record then
      verdict = 'l'
    end
    if verdict == 'r' or verdict == 'c' then
      for at = first, row - 1, 5 do
        repair(at)
      end
      return verdict
    end
    local kind, missed = HELD, 0
    if action <= EXTEND then
      if take(first, parts, false, action == EXTEND and since) == '0' then
        return '0'
      end
      for part = 1, min(parts, 32) do
        if not after_us[part] then
          missed = missed + 2 ^ (part - 1)
        end
      end
    else
      for at = first, row - 1, 5 do
        correct(at, since, reserved_at, now >= lifetime_end)
      end
      if action == SETTLE then
        kind = SETTLED
      else
        digest, missed = other, 4294967295
      end
    end
    -- No record is shortened: another reservation of the same hold may last longer.
    if record and record[4] > lifetime_end then
      lifetime_end = record[4]
    end
    if lifetime_end > now then
      records, ends = records or {}, ends or {}
      records[k] = digest > 0 and { kind, digest, missed, lifetime_end }
      ends[k] = lifetime_end
    end
    return verdict
  end

  return function(action, first, parts)
    if action >= RESERVE and action <= UNDO then
      return step(first, parts, action)
    end
    local verdict = '1'
    for at = first, first + 5 * (parts - 1), 5 do
      if not apply(at, action, parts == 1) then
        verdict = '0'
      end
    end
    return verdict
  end
end

local change
local verdicts, count = {}, 0
local at, last = 1, #checks
while at <= last do
  local k = checks[at]
  local verdict = '1'
  if k > 0 then
    local limit, cost = checks[at + 1], checks[at + 2]
    at = at + 3
    local e, per_token = us[k], interval[limit]
    if rare and rare[k] then
      verdict = rare[k] == UNKNOWN and 'u' or take_simple(k, limit, cost)
    else
      if not e then
        e = absent_us[limit] or settled(k, limit)
      elseif whole[k] == per_token and e < latest then
        local full = full_us[limit]
        if e < full then
          e = full
        end
      else
        e = settled(k, limit)
      end
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
    if action >= RESERVE and action <= UNDO then
      at = at + 5
    end
    local doubt = (rare or others) and undecided(first, parts)
    if doubt then
      verdict = doubt
    elseif action <= PEEK then
      verdict = take(first, parts, action == PEEK)
    else
      change = change or make_change()
      verdict = change(action, first, parts)
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
    -- The clock of a server may start in 1970, when a full bucket's `empty` is before that.
    if e < 0 then
      e = 0
    end
    local full, state = (e < epoch and epoch or e) + fill_us[limit]
    local leased = rare and leases[k]
    if leased then
      local term, earlier, current = leased[1], leased[2], leased[3]
      -- Each sum refills once its leases have ended.
      full = math.max(full + 2, (term + 1) * TERM + earlier + current)
      if current > 0 then
        full = math.max(full, (term + 2) * TERM + current)
      end
      local f, tokens, micros, d = fraction[k], state_tokens[k], state_us[k], indebted[k] or 0
      state = pack('>BI7I5I5I7I7I4I7I7', 6, e, f, tokens, micros, d, term, earlier, current)
    elseif per_token then
      if per_token < 4294967296 then
        state = pack('>BI7I4', 1, e, per_token)
      elseif per_token % 1000 == 0 and per_token < 4294967296000 then
        state = pack('>BI7I4', 2, e, per_token / 1000)
      else
        state = pack('>BI7I5I5I7', 3, e, 0, 1, per_token)
      end
    else
      local rest = (e < epoch and 0 or fraction[k]) + fill_fraction[limit]
      if rest > refill_tokens[limit] then
        full = full + 2
      elseif rest > 0 then
        full = full + 1
      end
      local tokens, micros = state_tokens[k], state_us[k]
      if indebted[k] then
        state = pack('>BI7I5I5I7I7', 4, e, fraction[k], tokens, micros, indebted[k])
      elseif newest >= 5 and tokens < 256 and micros < 65536000000 and micros % 1000000 == 0 then
        state = pack('>BI7BBI2', 5, e, tokens, fraction[k], micros / 1000000)
      else
        state = pack('>BI7I5I5I7', 3, e, fraction[k], tokens, micros)
      end
    end
    call('SET', KEYS[k], state, 'PXAT', format('%d', ceil(full / 1000)))
  end
end

if recounted then
  for k, other in pairs(recounted) do
    local state = counts[k]
    if state then
      local packed, expires_at = other:packed(state)
      call('SET', KEYS[k], packed, 'PXAT', format('%d', ceil(expires_at / 1000)))
    else
      call('DEL', KEYS[k])
    end
  end
end

-- Behind the buckets: what is taken without a record is taken again, which admits less.
if ends then
  for k, lifetime_end in pairs(ends) do
    local record = records[k]
    if record then
      local state = pack('>BBI6I4I7', 7, record[1], record[2], record[3], lifetime_end)
      call('SET', KEYS[k], state, 'PXAT', format('%d', ceil(lifetime_end / 1000)))
    else
      call('DEL', KEYS[k])
    end
  end
end

return { now, concat(verdicts), concat(stored), lent_spans }
