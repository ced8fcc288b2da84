#!lua flags=allow-oom
-- Says whose the keys of the fleet are, unless that is said already.
--
-- KEYS[1]  identity
-- ARGV[1]  id of the fleet
-- ARGV[2]  id of the data in Redis
--
-- Returns the {fleet, data} that stand. Twice: the same.
if redis.call('EXISTS', KEYS[1]) == 0 then
  redis.call('HSET', KEYS[1], 'fleet', ARGV[1], 'data', ARGV[2])
end
return redis.call('HMGET', KEYS[1], 'fleet', 'data')
