#!lua flags=allow-oom
-- Removes settled entries from the head of a parked list; un-parks the entity
-- when none is left. Fenced.
--
-- KEYS[1]    lease
-- KEYS[2,3]  due times, earliest due times of the source's parked entities
-- KEYS[4,5]  the entity's parked list, its record
-- KEYS[6]    hints of the source
-- KEYS[7…]   marks of the events whose own entries are among them
-- ARGV[1,2]  owner, epoch
-- ARGV[3]    entity key
-- ARGV[4]    step: grows with every command of this lease
-- ARGV[5]    how long until it is due again if entries are left, ms
-- ARGV[6]    most hints for the change feed that may be there
-- ARGV[7]    how many hints follow
-- ARGV[8…]   hints, then ids, in the order of the list
--
-- Returns how many entries are left.
--
-- Twice: the step in the record stops the second run. Each head is compared
-- with the id it should have all the same; ids alone would not do, since an
-- entry of the live stream and one of the background stream may share one. A hint that
-- is left once more is harmless.
local ids = 8 + tonumber(ARGV[7])
leave_hints(KEYS[6], ARGV[6], 8, ids - 1)
for i = 7, #KEYS do
  local mark = redis.call('GET', KEYS[i])
  if mark then -- what it knows of the event's bodies stays
    redis.call('SET', KEYS[i], 'processed' .. (string.match(mark, ' .+$') or ''), 'KEEPTTL')
  end
end

local last = redis.call('HMGET', KEYS[5], 'epoch', 'step')
if not last[1] then
  return 0
end
local late = last[1] == ARGV[2] and tonumber(ARGV[4]) <= tonumber(last[2])
if late then
  return redis.call('LLEN', KEYS[4])
end

for i = ids, #ARGV do
  local head = redis.call('LINDEX', KEYS[4], 0)
  if head and string.match(head, '^%S+') == ARGV[i] then
    redis.call('LPOP', KEYS[4])
  end
end

local left = redis.call('LLEN', KEYS[4])
if left == 0 then
  redis.call('ZREM', KEYS[2], ARGV[3])
  redis.call('ZREM', KEYS[3], ARGV[3])
  redis.call('DEL', KEYS[4], KEYS[5])
  forget_seen(KEYS[2])
  return 0
end
local now = due_now(KEYS[2], KEYS[3])
redis.call('ZADD', KEYS[2], now + tonumber(ARGV[5]), ARGV[3])
redis.call('HSET', KEYS[5], 'epoch', ARGV[2], 'step', ARGV[4])
return left
