#!lua flags=allow-oom
-- Names parked entities that are due. Fenced. Changes nothing but due times
-- from before a clock was set back, and when they were last looked at. Where
-- nothing is parked it only reads.
--
-- KEYS[1]     lease
-- KEYS[2,3]   due times, earliest due times of a source's parked entities
-- KEYS[4,5…]  the same of further sources
-- ARGV[1,2]   owner, epoch
-- ARGV[3…]    most entities, of each source
--
-- Returns for each source {entity keys, longest due first; ms until the next
-- one after now is due, 0 if none waits}. Twice: the same.
local out = {}
for i = 2, #KEYS, 2 do
  local due, next_one = {}, {}
  local now
  if redis.call('EXISTS', KEYS[i]) == 1 then
    now = due_now(KEYS[i], KEYS[i + 1])
    due = redis.call('ZRANGEBYSCORE', KEYS[i], '-inf', now, 'LIMIT', 0, ARGV[2 + i / 2])
    next_one = redis.call('ZRANGEBYSCORE', KEYS[i], '(' .. now, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
  end
  out[#out + 1] = {due, next_one[2] and math.max(1, tonumber(next_one[2]) - now) or 0}
end
return out
