#!lua flags=allow-oom
-- Removes settled entries from their stream, leaves hints for the change feed, and
-- marks the entries' events. Fenced.
--
-- KEYS[1]    lease
-- KEYS[2]    stream
-- KEYS[3]    hints of the source
-- KEYS[4…]   marks of the events whose own entries are among them
-- ARGV[1,2]  owner, epoch
-- ARGV[3]    name of the consumer group
-- ARGV[4]    most hints that may be there
-- ARGV[5]    how many hints follow, at most 1,000
-- ARGV[6…]   hints, then ids, at most 1,000 (unpack ends below 8,000)
--
-- Returns how many were pending. Twice: nothing is left to remove; a hint that is
-- there is not added, and one that was taken meanwhile is taken once more, which
-- is harmless; a mark that is there says "processed" again. A mark that has run out is
-- not made again: the log row decides then.
local ids = 6 + tonumber(ARGV[5])
leave_hints(KEYS[3], ARGV[4], 6, ids - 1)
local acked = 0
if #ARGV >= ids then
  acked = redis.call('XACK', KEYS[2], ARGV[3], unpack(ARGV, ids))
  redis.call('XDEL', KEYS[2], unpack(ARGV, ids))
end
for i = 4, #KEYS do
  local mark = redis.call('GET', KEYS[i])
  if mark then -- what it knows of the event's bodies stays
    redis.call('SET', KEYS[i], 'processed' .. (string.match(mark, ' .+$') or ''), 'KEEPTTL')
  end
end
return acked
