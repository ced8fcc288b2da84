#!lua flags=allow-oom
-- Moves the due time of a parked entity. Fenced.
--
-- KEYS[1]    lease
-- KEYS[2]    due times of the source's parked entities
-- KEYS[3]    earliest due times of them: what comes meanwhile is not to make the
--            entity due, since it is being tried
-- KEYS[4]    the entity's record
-- ARGV[1,2]  owner, epoch
-- ARGV[3]    entity key
-- ARGV[4]    step: grows with every command of this lease
-- ARGV[5]    how long until it is due, ms
--
-- Returns 1 if it is parked, else 0. Twice: the step in the record stops the
-- second run, and an old one that comes after a newer park.
local last = redis.call('HMGET', KEYS[4], 'epoch', 'step')
if not last[1] then
  return 0
end
local late = last[1] == ARGV[2] and tonumber(ARGV[4]) <= tonumber(last[2])
if not late then
  local now = due_now(KEYS[2], KEYS[3])
  redis.call('ZADD', KEYS[2], 'XX', now + tonumber(ARGV[5]), ARGV[3])
  redis.call('ZADD', KEYS[3], 'XX', now + tonumber(ARGV[5]), ARGV[3])
  redis.call('HSET', KEYS[4], 'epoch', ARGV[2], 'step', ARGV[4])
end
return 1
