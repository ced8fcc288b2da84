#!lua flags=allow-oom
-- Removes unreadable entries from a parked list, wherever they stand;
-- un-parks the entity when none is left. Fenced.
--
-- KEYS[1]    lease
-- KEYS[2,3]  due times, earliest due times of the source's parked entities
-- KEYS[4,5]  the entity's parked list, its record
-- ARGV[1,2]  owner, epoch
-- ARGV[3]    entity key, as it stands among the due times
-- ARGV[4…]   the entries as they stand in the list, at most 1,000; none removes
--            an entity for which nothing waits
--
-- Returns how many entries are left. Twice: nothing is left to remove, but for a
-- twin of an entry, which is as unreadable.
for i = 4, #ARGV do
  redis.call('LREM', KEYS[4], 1, ARGV[i])
end
local left = redis.call('LLEN', KEYS[4])
if left == 0 then
  redis.call('ZREM', KEYS[2], ARGV[3])
  redis.call('ZREM', KEYS[3], ARGV[3])
  redis.call('DEL', KEYS[4], KEYS[5])
  forget_seen(KEYS[2])
end
return left
