#!lua flags=allow-oom
-- Takes tokens of a source's budget for one class.
--
-- KEYS[1]  state of the source
-- KEYS[2]  budget of the source
-- ARGV[1]  class: -1 command, 0 live, 1 redrive, 2 reconcile, 3 backfill
-- ARGV[2]  tokens asked for
-- ARGV[3]  rate, tokens a second; 0: unlimited
-- ARGV[4]  burst, tokens
-- ARGV[5]  the share of the rate that the class command may take
--
-- Returns {tokens granted, µs until asking again makes sense, Redis time in
-- ms, until, since, strikes, reason, by, typed}; until is "" when not paused.
--
-- Each class below live has a bucket filled with 5 % of the rate; the rest
-- fills the main bucket, and so does what a full bucket cannot hold: a floor
-- no class uses is not lost. A class below live takes from the main bucket only
-- if no higher class went short within the last 200 ms.
--
-- The class command has a bucket as well, filled with its share of the rate, which is no
-- part of the others: it says how many tokens of the main bucket the class may take
-- before all others.
--
-- Twice: the tokens are taken twice. The provider is asked less often than it
-- allows, never more.
local floor_share, heed_us = 0.05, 200000

local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local now_in_ms = math.floor(now / 1000)
pause_ends(KEYS[1], now_in_ms)
local s = redis.call('HMGET', KEYS[1], 'until', 'since', 'strikes', 'reason', 'by', 'typed')

local function answer(granted, wait)
  return {granted, math.ceil(wait), now_in_ms, s[1] or '', s[2] or '0', s[3] or '0', s[4] or '', s[5] or '', s[6] or ''}
end

local class, asked, rate, burst = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]) / 1e6, tonumber(ARGV[4])
if s[1] then
  local ends = tonumber(s[1])
  return answer(0, ends > now_in_ms and (ends - now_in_ms) * 1000 or 1e6)
end
if rate == 0 then
  return answer(asked, 0)
end

local share = tonumber(ARGV[5])
local b = redis.call('HMGET', KEYS[2], 'at', 'main', 'floor1', 'floor2', 'floor3', 'short-1', 'short0', 'short1', 'short2', 'command')
local function held(i, default) return tonumber(b[i] or default) end

-- Fill.
local passed = math.max(0, now - held(1, now))
local floor_rate, floor_cap = rate * floor_share, math.max(1, burst * floor_share)
local main_rate = rate * (1 - 3 * floor_share)
local main = held(2, burst) + main_rate * passed
local floors = {}
for i = 1, 3 do
  local f = held(2 + i, floor_cap) + floor_rate * passed
  floors[i] = math.min(floor_cap, f)
  main = main + f - floors[i]
  if floors[i] == floor_cap then main_rate = main_rate + floor_rate end
end
main = math.min(burst, main)
local command_cap = math.max(1, burst * share)
local command = math.min(command_cap, held(10, command_cap) + rate * share * passed)

-- Take: the class's own bucket first, then the main one.
local function take(from, want) return math.min(want, math.floor(from + 1e-9)) end
local granted = 0
if class > 0 then
  granted = take(floors[class], asked)
  floors[class] = floors[class] - granted
end
local heed_until = 0
for higher = -1, class - 1 do
  local short = held(7 + higher, -heed_us)
  if short <= now then -- else it is from before the clock was set back
    heed_until = math.max(heed_until, short + heed_us)
  end
end
if heed_until <= now then
  local more = take(main, asked - granted)
  if class < 0 then
    more = take(command, more)
    command = command - more
  end
  main, granted = main - more, granted + more
end

-- Wait: until half a burst is there, at most what is missing.
local wait, missing = 0, asked - granted
if missing > 0 then
  local aim = math.min(missing, math.max(1, math.floor(burst / 2)))
  wait = (aim - main) / main_rate
  if heed_until > now then wait = heed_until - now end
  if class > 0 then wait = math.min(wait, (1 - floors[class]) / floor_rate) end
  if class < 0 then wait = math.max(wait, (1 - command) / (rate * share)) end
  wait = math.max(1000, wait)
end

local function text(x) return string.format('%.6f', x) end
redis.call('HSET', KEYS[2], 'at', string.format('%.0f', now), 'main', text(main),
  'floor1', text(floors[1]), 'floor2', text(floors[2]), 'floor3', text(floors[3]), 'command', text(command))
-- A command that has used up its share goes short of that, and not of what others take.
if missing > 0 and class < 3 and (class >= 0 or command >= 1) then
  redis.call('HSET', KEYS[2], 'short' .. class, string.format('%.0f', now))
elseif class < 0 then
  redis.call('HSET', KEYS[2], 'short-1', '0')
end
-- Once every bucket would be full again, nothing is worth remembering.
redis.call('PEXPIRE', KEYS[2], math.ceil(600000 + floor_cap / floor_rate / 1000))
return answer(granted, wait)
