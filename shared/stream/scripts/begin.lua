#!lua flags=allow-oom
-- Lets the holder of a shard begin a request that changes something. Fenced.
--
-- KEYS[1]    lease
-- ARGV[1,2]  owner, epoch
--
-- Returns Redis' time, ms. Twice: it changes nothing.
return now_ms()
