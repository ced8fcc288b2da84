#!lua flags=allow-oom
-- Gives a lease up. Fenced.
--
-- KEYS[1]    lease
-- ARGV[1,2]  owner, epoch
--
-- Returns 1. Twice: FENCED, which the caller takes for done.
return redis.call('DEL', KEYS[1])
