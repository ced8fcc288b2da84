#!lua flags=allow-oom
-- Says that a worker is alive and names all that are.
--
-- KEYS[1]  workers, scored by when each counts as gone
-- KEYS[2]  number of shards
-- KEYS[3]  token of the call that found no heartbeat of the worker
-- ARGV[1]  worker; '' only names the others
-- ARGV[2]  how long it counts as alive, ms
-- ARGV[3]  number of shards, put back should Redis have lost it
-- ARGV[4]  token of this call, kept by the worker until a call was answered
--
-- Returns {1 if the worker had no heartbeat that still counts, the live workers}.
-- Twice: the second run finds the token of the first and answers the same.
local now = now_ms()
local alive = now + tonumber(ARGV[2])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
-- None is alive for longer than from its last heartbeat: a score above that is
-- from before the clock was set back.
for _, other in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. alive, '+inf')) do
  redis.call('ZADD', KEYS[1], alive, other)
end
local fresh = false
if ARGV[1] ~= '' then
  if not redis.call('ZSCORE', KEYS[1], ARGV[1]) then
    redis.call('SET', KEYS[3], ARGV[4], 'PX', ARGV[2])
  end
  fresh = redis.call('GET', KEYS[3]) == ARGV[4]
  redis.call('ZADD', KEYS[1], alive, ARGV[1])
  redis.call('SET', KEYS[2], ARGV[3], 'NX')
end
return {fresh and 1 or 0, redis.call('ZRANGE', KEYS[1], 0, -1)}
