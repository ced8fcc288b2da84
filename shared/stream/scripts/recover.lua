-- Appends an entry whose work is open although it may have been lost, unless
-- it is there after all.
--
-- KEYS[1]  live stream
-- KEYS[2]  due times of the source's parked entities
-- KEYS[3]  mark of this recovery
-- ARGV[1]  entity key
-- ARGV[2]  id of the entry that stood for the work; '' if unknown, '0-0' if it
--          was looked for and is not there
-- ARGV[3]  how long the mark stays, ms
-- ARGV[4…] field, value, field, value …
--
-- Returns "~" if the entity is parked: its work waits there, or is looked for
-- again once it is not. Else "=<stream id>" if an entry stands for the work,
-- "+<stream id>" when one was appended, "?" if the stream must be looked through
-- for one first, since its id is unknown.
--
-- Twice: the second run finds the mark of the first. Like append, it adds to
-- memory, so it is not run beyond the limit.
if redis.call('ZSCORE', KEYS[2], ARGV[1]) then
  return '~'
end
local known = redis.call('GET', KEYS[3])
if known then
  within(KEYS[3], ARGV[3])
  return '=' .. known
end
if ARGV[2] == '' then
  return '?'
end
if #redis.call('XRANGE', KEYS[1], ARGV[2], ARGV[2]) == 1 then
  return '=' .. ARGV[2]
end
local id = redis.call('XADD', KEYS[1], '*', unpack(ARGV, 4))
redis.call('SET', KEYS[3], id, 'PX', ARGV[3])
return '+' .. id
