#!lua flags=allow-oom
-- Gives one caller the right to try a paused source whose time has come.
--
-- KEYS[1]  state of the source
-- KEYS[2]  who probes it
-- ARGV[1]  token of this call
-- ARGV[2]  how long the right lasts, ms
--
-- Returns 1 or 0. Twice: the second run finds its own token.
local now = now_ms()
local ends = pause_ends(KEYS[1], now) or -1
if ends <= 0 or ends > now then
  return 0
end
within(KEYS[2], ARGV[2])
if redis.call('SET', KEYS[2], ARGV[1], 'NX', 'PX', ARGV[2]) then
  return 1
end
return redis.call('GET', KEYS[2]) == ARGV[1] and 1 or 0
