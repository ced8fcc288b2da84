#!lua flags=allow-oom
-- Names parked entities that are due. Fenced. Changes nothing but due times
-- from before a clock was set back, and when they were last looked at. Every
-- shard runs it all the time, so where nothing is parked it only reads.
--
-- KEYS[1]    lease
-- KEYS[2,3]  due times, earliest due times of the source's parked entities
-- ARGV[1,2]  owner, epoch
-- ARGV[3]    most entities
--
-- Returns {entity keys, longest due first; ms until the next one after now is
-- due, 0 if none waits}. Twice: the same.
if redis.call('EXISTS', KEYS[2]) == 0 then
  return {{}, 0}
end
local now = due_now(KEYS[2], KEYS[3])
local due = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now, 'LIMIT', 0, ARGV[3])
local next_one = redis.call('ZRANGEBYSCORE', KEYS[2], '(' .. now, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
return {due, next_one[2] and tonumber(next_one[2]) - now or 0}
