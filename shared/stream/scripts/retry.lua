#!lua flags=allow-oom
-- Makes everything that is parked due now.
--
-- KEYS[1]  due times of the source's parked entities
-- KEYS[2]  earliest due times of the same
--
-- Returns how many entities were not due yet. Twice: the second finds none.
local later = redis.call('ZCOUNT', KEYS[1], '(' .. now_ms(), '+inf')
if later > 0 then
  -- One pass inside Redis, whatever their number: all become due since ever.
  redis.call('ZUNIONSTORE', KEYS[1], 1, KEYS[1], 'WEIGHTS', 0)
  redis.call('ZUNIONSTORE', KEYS[2], 1, KEYS[2], 'WEIGHTS', 0)
end
return later
