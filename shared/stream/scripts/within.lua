#!lua flags=allow-oom
-- Lets a key expire within the longest time it is ever given, as it does unless
-- the clock was set back.
--
-- KEYS[1]  key
-- ARGV[1]  that time, ms
--
-- Returns 0. Twice: nothing is left to change.
within(KEYS[1], ARGV[1])
return 0
