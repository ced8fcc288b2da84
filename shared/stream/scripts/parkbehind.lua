#!lua flags=allow-oom
-- Moves entries of one source, each behind its parked entity, in the order
-- given. Fenced.
--
-- KEYS[1]    lease
-- KEYS[2,3]  live stream, background stream
-- KEYS[4,5]  due times, earliest due times of the source's parked entities
-- ARGV[1,2]  owner, epoch
-- ARGV[3]    name of the consumer group
-- ARGV[4,5]  what the names of parked lists and of records begin with
-- ARGV[6…]   for each entry: 2 or 3 (index of its stream in KEYS), id, entity key, packed signal
--
-- The names of lists and records are made here, since there is one for each
-- entity; they carry the hash tag of the declared keys, so a cluster finds
-- them on the same node.
--
-- Returns the positions, from 1, of entries whose entity is not parked: they
-- are left where they are.
--
-- Twice: an entry is moved only by the run whose XACK found it pending. Should
-- the entity be un-parked between the runs, the second names an entry that is
-- gone already; to sync it and ack it once more does no harm.
local left = {}
for i = 6, #ARGV, 4 do
  local index, id, entity = tonumber(ARGV[i]), ARGV[i + 1], ARGV[i + 2]
  local due = redis.call('ZSCORE', KEYS[4], entity)
  if not due then
    left[#left + 1] = (i - 6) / 4 + 1
  elseif redis.call('XACK', KEYS[index], ARGV[3], id) == 1 then
    redis.call('XDEL', KEYS[index], id)
    local base = redis.call('HGET', ARGV[5] .. entity, 'attempt') or '0'
    redis.call('RPUSH', ARGV[4] .. entity, id .. ' ' .. base .. ' ' .. ARGV[i + 3])
    local earliest = redis.call('ZSCORE', KEYS[5], entity)
    if index == 2 and earliest and tonumber(earliest) < tonumber(due) then
      redis.call('ZADD', KEYS[4], earliest, entity)
    end
  end
end
return left
