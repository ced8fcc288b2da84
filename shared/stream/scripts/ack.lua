#!lua flags=allow-oom
-- Removes settled entries from their stream and marks their events. Fenced.
--
-- KEYS[1]    lease
-- KEYS[2]    stream
-- KEYS[3…]   marks of the events whose own entries are among them
-- ARGV[1,2]  owner, epoch
-- ARGV[3]    name of the consumer group
-- ARGV[4…]   ids, at most 1,000 (unpack ends below 8,000)
--
-- Returns how many were pending. Twice: nothing is left to remove; a mark that
-- is there says "processed" again. A mark that has run out is not made again:
-- the log row decides then.
local acked = 0
if #ARGV > 3 then
  acked = redis.call('XACK', KEYS[2], ARGV[3], unpack(ARGV, 4))
  redis.call('XDEL', KEYS[2], unpack(ARGV, 4))
end
for i = 3, #KEYS do
  local mark = redis.call('GET', KEYS[i])
  if mark then -- what it knows of the event's bodies stays
    redis.call('SET', KEYS[i], 'processed' .. (string.match(mark, ' .+$') or ''), 'KEEPTTL')
  end
end
return acked
