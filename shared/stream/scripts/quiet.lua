#!lua flags=allow-oom
-- Tells whether nothing waits in streams and nothing is parked. Reads only.
--
-- KEYS     live stream, background stream, due times; the same of further
--          sources and shards
--
-- Returns 1 if so, else 0. Twice: the same.
local due = {}
for i = 1, #KEYS, 3 do
  if redis.call('XLEN', KEYS[i]) > 0 or redis.call('XLEN', KEYS[i + 1]) > 0 then
    return 0
  end
  due[#due + 1] = KEYS[i + 2]
end
return redis.call('EXISTS', unpack(due)) == 0 and 1 or 0
