#!lua flags=allow-oom
-- Names parked entities that are due. Fenced. Reads only.
--
-- KEYS[1]    lease
-- KEYS[2]    due times of the source's parked entities
-- ARGV[1,2]  owner, epoch
-- ARGV[3]    most entities
--
-- Returns {entity keys, longest due first; ms until the next one after now is
-- due, 0 if none waits}. Twice: the same.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local due = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now, 'LIMIT', 0, ARGV[3])
local next_one = redis.call('ZRANGEBYSCORE', KEYS[2], '(' .. now, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
return {due, next_one[2] and tonumber(next_one[2]) - now or 0}
