#!lua flags=allow-oom
-- Says that a worker is alive and names all that are.
--
-- KEYS[1]  workers, scored by when each counts as gone
-- KEYS[2]  number of shards
-- ARGV[1]  worker
-- ARGV[2]  how long it counts as alive, ms
-- ARGV[3]  number of shards, put back should Redis have lost it
--
-- Returns the live workers. Twice: the same.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
redis.call('ZADD', KEYS[1], now + tonumber(ARGV[2]), ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
redis.call('SET', KEYS[2], ARGV[3], 'NX')
return redis.call('ZRANGE', KEYS[1], 0, -1)
