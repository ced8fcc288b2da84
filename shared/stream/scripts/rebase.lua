#!lua flags=allow-oom
-- Lets parked entries count from a later attempt: those that came while a retry
-- was under way are not charged for it. Fenced.
--
-- KEYS[1]    lease
-- KEYS[2,3]  the entity's parked list, its record
-- ARGV[1,2]  owner, epoch
-- ARGV[3]    step: grows with every command of this lease
-- ARGV[4]    position of the first entry, from 0
-- ARGV[5]    most entries
-- ARGV[6]    their new base, see park.lua
--
-- Returns how many entries wait for the entity. Twice: the step in the record
-- stops the second run, and an old one that comes late.
local last = redis.call('HMGET', KEYS[3], 'epoch', 'step')
if not last[1] then
  return 0
end
local late = last[1] == ARGV[2] and tonumber(ARGV[3]) <= tonumber(last[2])
if not late then
  local from = tonumber(ARGV[4])
  for i, item in ipairs(redis.call('LRANGE', KEYS[2], from, from + ARGV[5] - 1)) do
    redis.call('LSET', KEYS[2], from + i - 1, (string.gsub(item, '^(%S+) %S+', '%1 ' .. ARGV[6], 1)))
  end
  redis.call('HSET', KEYS[3], 'epoch', ARGV[2], 'step', ARGV[3])
end
return redis.call('LLEN', KEYS[2])
