#!lua flags=allow-oom
-- Tells for how long the oldest hint for the change feed has waited. Reads only.
--
-- KEYS  hints of a source in some shards
--
-- Returns ms, 0 if there is none. Twice: the same.
local oldest, now = 0, now_ms()
for i = 1, #KEYS do
  local first = redis.call('ZRANGE', KEYS[i], 0, 0, 'WITHSCORES')
  if first[2] then
    oldest = math.max(oldest, 1, now - tonumber(first[2]))
  end
end
return oldest
