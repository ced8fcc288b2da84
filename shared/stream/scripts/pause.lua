#!lua flags=allow-oom
-- Pauses a source.
--
-- KEYS[1]  state of the source
-- KEYS[2]  who probes it
-- ARGV[1]  how long until a probe, ms; 0: until resumed by hand
-- ARGV[2]  reason
-- ARGV[3]  by whom
-- ARGV[4]  its kind and what must be so before it ends, as JSON with the reason
--
-- Returns 1 if the pause is now as asked, 0 if a longer one stays.
--
-- A pause is never shortened, and one without an end never gets one. A strike
-- is counted only when a pause begins, or is renewed after its time has come:
-- many workers see the same outage, which counts once.
--
-- A pause that ends only once known entities are found keeps what it waits for,
-- and with it its reason, when one that waits for nothing comes in between: a
-- provider that fails for a moment has not shown that the right account is asked.
-- One without an end replaces it, since the operator who resumes it has looked.
--
-- Twice: the second run extends the pause by the moment between the two.
local function waits_for_some(typed, reason)
  local ok, t = pcall(cjson.decode, typed or '')
  return ok and type(t) == 'table' and t.reason == reason and type(t.witnesses) == 'table' and #t.witnesses > 0
end

local now = now_ms()
local stands, length = pause_ends(KEYS[1], now) or -1, tonumber(ARGV[1])
local was = redis.call('HMGET', KEYS[1], 'until', 'since', 'strikes', 'reason', 'typed')
local ends = length == 0 and 0 or now + length
local running = stands == 0 or stands > now

if stands == 0 or (ends ~= 0 and stands > ends) then
  return 0
end
local reason, typed = ARGV[2], ARGV[4]
if ends ~= 0 and waits_for_some(was[5], was[4]) and not waits_for_some(typed, reason) then
  reason, typed = was[4], was[5]
end
local strikes = tonumber(was[3] or '0')
if not running then
  strikes = strikes + 1
end
redis.call('HSET', KEYS[1], 'until', ends, 'since', was[2] or now, 'strikes', strikes,
  'reason', reason, 'by', ARGV[3], 'typed', typed, 'set', now, 'for', length)
redis.call('DEL', KEYS[2])
return 1
