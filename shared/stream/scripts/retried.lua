#!lua flags=allow-oom
-- Says that everything that is parked of a source was made due.
--
-- KEYS[1]  texts that say so, by source
-- ARGV[1]  source
-- ARGV[2]  another text than any before
--
-- Returns how many sources are new. Twice: the same text again.
return redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
