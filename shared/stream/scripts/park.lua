#!lua flags=allow-oom
-- Moves a page of what waits for one entity from its streams to the end of its
-- parked list. Fenced.
--
-- KEYS[1]     lease
-- KEYS[2,3]   live stream, background stream
-- KEYS[4,5]   due times, earliest due times of the source's parked entities
-- KEYS[6,7]   the entity's parked list, its record
-- ARGV[1,2]   owner, epoch
-- ARGV[3]     name of the consumer group
-- ARGV[4]     entity key
-- ARGV[5]     step: grows with every command of this lease
-- ARGV[6]     attempts charged to the entity since it was parked
-- ARGV[7,8]   how long until it is due, until a live signal may make it due, ms
-- ARGV[9]     state, opaque
-- ARGV[10]    kind: spilled, or failed
-- ARGV[11…]   for each entry, at most 1,000 of them: 2 or 3 (index of its stream
--             in KEYS), id, base, packed signal
--
-- The base of an entry is the entity's attempt count from which its own count
-- starts: attempts of an entry = attempts of the entity - base.
--
-- Returns how many entries wait; 0 means that none does and nothing was made.
--
-- Twice: an entry is moved only by the run whose XACK found it pending, and
-- the record remembers the step of the last command, so an old one that comes
-- late moves nothing and changes no due time.
local moved = 0
for i = 11, #ARGV, 4 do
  local stream, id = KEYS[tonumber(ARGV[i])], ARGV[i + 1]
  if redis.call('XACK', stream, ARGV[3], id) == 1 then
    redis.call('XDEL', stream, id)
    redis.call('RPUSH', KEYS[6], id .. ' ' .. ARGV[i + 2] .. ' ' .. ARGV[i + 3])
    moved = moved + 1
  end
end

local waiting = redis.call('LLEN', KEYS[6])
if waiting == 0 then
  return 0
end

-- Fenced, so another epoch in the record is an older one.
local last = redis.call('HMGET', KEYS[7], 'epoch', 'step')
local late = last[1] == ARGV[2] and tonumber(ARGV[5]) <= tonumber(last[2])
if moved == 0 and late then
  return waiting
end

local now = due_now(KEYS[4], KEYS[5])
redis.call('HSET', KEYS[7], 'attempt', ARGV[6], 'state', ARGV[9], 'kind', ARGV[10],
  'epoch', ARGV[2], 'step', ARGV[5])
redis.call('ZADD', KEYS[4], now + tonumber(ARGV[7]), ARGV[4])
redis.call('ZADD', KEYS[5], now + tonumber(ARGV[8]), ARGV[4])
return waiting
