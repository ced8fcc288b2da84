#!lua flags=allow-oom
-- Extends a lease to its full TTL. Fenced.
--
-- KEYS[1]    lease
-- ARGV[1,2]  owner, epoch
-- ARGV[3]    TTL, ms
--
-- Returns 1. Twice: the TTL starts over.
return redis.call('PEXPIRE', KEYS[1], ARGV[3])
