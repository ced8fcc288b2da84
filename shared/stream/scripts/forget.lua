#!lua flags=allow-oom
-- Removes work of a source that no worker reads any more from one shard.
--
-- KEYS[1,2]  live stream, background stream
-- KEYS[3,4]  due times, earliest due times of the source's parked entities
-- KEYS[5]    hints for the change feed
-- KEYS[6…]   marks of the events among the entries
-- ARGV[1,2]  what the names of parked lists and of records begin with
-- ARGV[3]    most parked entities to remove
-- ARGV[4…]   ids of the live entries to remove
--
-- Returns {parked entities removed, what is left: live entries, parked
-- entities}. Background entries have no row in the log and go all at once, with
-- the last others. Twice: the same, entries are named by id.
for i = 6, #KEYS do
  redis.call('DEL', KEYS[i])
end
if #ARGV > 3 then
  redis.call('XDEL', KEYS[1], unpack(ARGV, 4))
end
local entities = redis.call('ZRANGE', KEYS[3], 0, ARGV[3] - 1)
for _, entity in ipairs(entities) do
  redis.call('UNLINK', ARGV[1] .. entity, ARGV[2] .. entity)
  redis.call('ZREM', KEYS[3], entity)
  redis.call('ZREM', KEYS[4], entity)
end
local live, parked = redis.call('XLEN', KEYS[1]), redis.call('ZCARD', KEYS[3])
if live == 0 and parked == 0 then
  redis.call('UNLINK', KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], seen_key(KEYS[3]))
end
return {#entities, live, parked}
