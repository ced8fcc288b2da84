-- Appends one entry and marks it, unless it is marked already.
--
-- KEYS[1]  stream
-- KEYS[2]  mark
-- ARGV[1]  how long the mark stays, ms
-- ARGV[2…] field, value, field, value …
--
-- Returns "+<stream id>" when appended, "=<value of the mark>" when not.
--
-- Twice: the second run finds the mark of the first.
--
-- The entry comes before the mark, since scripts do not roll back: a mark
-- without its entry would lose the event. This is the one script without
-- allow-oom (and without a shebang, under which Redis would refuse it whole):
-- at the memory limit XADD is refused, while a duplicate is still recognised.
local mark = redis.call('GET', KEYS[2])
if mark then
  return '=' .. mark
end
local id = redis.call('XADD', KEYS[1], '*', unpack(ARGV, 2))
redis.call('SET', KEYS[2], 'queued:' .. id, 'PX', ARGV[1])
return '+' .. id
