-- Precedes the scripts that store times or read stored ones. Redis' clock can be
-- set back, or a replica whose clock is behind can be promoted. A wait stored as the
-- time of its end would then last as much longer. So would every expiry, which Redis
-- stores in the same way.

-- Redis' time, ms.
local function now_ms()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

-- Lets a key expire within ms, the longest it is ever given.
local function within(key, ms)
  if redis.call('PTTL', key) > tonumber(ms) then
    redis.call('PEXPIRE', key, ms)
  end
end

-- When the pause of a source ends: nil if there is none, 0 for one made by hand.
-- A pause keeps when it was set and for how long; set later than now, it was
-- before the clock went back, and begins again now. One whose end is not the
-- sum of the two was set by a version that kept neither: it counts as set now,
-- or, if it is surely older, as set when the source was first paused.
local function pause_ends(state, now)
  local p = redis.call('HMGET', state, 'until', 'set', 'for', 'since')
  local ends, set, length, since = tonumber(p[1] or ''), tonumber(p[2] or ''), tonumber(p[3] or ''), tonumber(p[4] or '')
  if not ends then
    return nil
  end
  local back = since and since > now
  if back then
    redis.call('HSET', state, 'since', now)
  end
  if ends == 0 then
    return 0
  end
  local kept = set and length and set + length == ends
  if not kept then
    set = back and since or now
    length = math.max(0, ends - set)
  end
  if set > now then
    set, ends, kept = now, now + length, false
  end
  if not kept and ends > now then
    redis.call('HSET', state, 'until', ends, 'set', set, 'for', length)
  end
  return ends
end

-- Moves all times of a sorted set back by ms.
local function move_back(times, ms)
  local all = redis.call('ZRANGE', times, 0, -1, 'WITHSCORES')
  for first = 1, #all, 1000 do -- unpack ends below 8,000
    local page = {}
    for i = first, math.min(first + 999, #all), 2 do
      page[#page + 1] = all[i + 1] - ms
      page[#page + 1] = all[i]
    end
    redis.call('ZADD', times, unpack(page))
  end
end

-- The key beside due times that says when they were last looked at or changed,
-- to about a second. It is there only while they are.
local function seen_key(due)
  return due .. '@seen'
end

-- Removes that key when no due time is left.
local function forget_seen(due)
  if redis.call('EXISTS', due) == 0 then
    redis.call('DEL', seen_key(due))
  end
end

-- Redis' time, ms, for the due times of a source's parked entities. A kept time
-- after now is from before the clock went back: then all of them go back by as
-- much, so that each entity waits on as before.
local function due_now(due, earliest)
  local now, beside = now_ms(), seen_key(due)
  local seen = tonumber(redis.call('GET', beside) or '')
  if seen and seen - now >= 1000 then
    move_back(due, seen - now)
    move_back(earliest, seen - now)
  end
  if not seen or math.abs(seen - now) >= 1000 then
    redis.call('SET', beside, now)
  end
  return now
end
