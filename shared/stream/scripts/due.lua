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
-- one after now is due, 0 if none waits}, or an error if a key of it is of another
-- type. Twice: the same.
local function look_at(due, earliest, most)
  if redis.call('EXISTS', due) == 0 then
    return {{}, 0}
  end
  local now = due_now(due, earliest)
  local names = redis.call('ZRANGEBYSCORE', due, '-inf', now, 'LIMIT', 0, most)
  local next_one = redis.call('ZRANGEBYSCORE', due, '(' .. now, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
  return {names, next_one[2] and math.max(1, tonumber(next_one[2]) - now) or 0}
end

local out = {}
for i = 2, #KEYS, 2 do
  out[#out + 1] = part(look_at, KEYS[i], KEYS[i + 1], ARGV[2 + i / 2])
end
return out
