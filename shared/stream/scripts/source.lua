#!lua flags=allow-oom
-- Shows the state of a source. Changes nothing but a pause from before the clock
-- was set back.
--
-- KEYS[1]  state of the source
-- ARGV     names of its fields
--
-- Returns their values. Twice: the same.
pause_ends(KEYS[1], now_ms())
return redis.call('HMGET', KEYS[1], unpack(ARGV))
