#!lua flags=allow-oom
-- Ends a pause and, for a time, lets known entities of the source be taken for
-- deleted.
--
-- KEYS[1]  whether deletions are accepted
-- KEYS[2]  the source's pause
-- KEYS[3]  its probe
-- ARGV[1]  who accepts them
-- ARGV[2]  for how long, ms
--
-- Returns 1. Twice: the time begins again.
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
redis.call('DEL', KEYS[2], KEYS[3])
return 1
