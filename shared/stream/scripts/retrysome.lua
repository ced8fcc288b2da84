#!lua flags=allow-oom
-- Makes some parked entities of one source due now.
--
-- KEYS[1]  due times of the source's parked entities
-- KEYS[2]  earliest due times of the same
-- ARGV[1…] entities, at most 1,000
--
-- Returns how many of them were not due yet. Twice: the second finds none.
local now, later = now_ms(), 0
for _, entity in ipairs(ARGV) do
  local due = redis.call('ZSCORE', KEYS[1], entity)
  if due and tonumber(due) > now then
    redis.call('ZADD', KEYS[1], now, entity)
    redis.call('ZADD', KEYS[2], now, entity)
    later = later + 1
  end
end
return later
