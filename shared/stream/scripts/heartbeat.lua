#!lua flags=allow-oom
-- Says that a worker is alive and names all that are.
--
-- KEYS[1]  workers, scored by when each counts as gone
-- KEYS[2]  number of shards
-- ARGV[1]  worker; '' only names the others
-- ARGV[2]  how long it counts as alive, ms
-- ARGV[3]  number of shards, put back should Redis have lost it
--
-- Returns the live workers. Twice: the same.
local now = now_ms()
local alive = now + tonumber(ARGV[2])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
-- None is alive for longer than from its last heartbeat: a score above that is
-- from before the clock was set back.
for _, other in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. alive, '+inf')) do
  redis.call('ZADD', KEYS[1], alive, other)
end
if ARGV[1] ~= '' then
  redis.call('ZADD', KEYS[1], alive, ARGV[1])
  redis.call('SET', KEYS[2], ARGV[3], 'NX')
end
return redis.call('ZRANGE', KEYS[1], 0, -1)
