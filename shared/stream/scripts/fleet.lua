#!lua flags=allow-oom
-- Shows one shard. Reads only.
--
-- KEYS[1]  lease
-- KEYS[2…] for each source: live stream, background stream, due times
--
-- Returns {owner, epoch, for each source: live, background, parked, age of the
-- oldest live entry in ms}. Twice: the same.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local held = redis.call('HMGET', KEYS[1], 'owner', 'epoch')
local out = {held[1] or '', held[2] or '0'}
for i = 2, #KEYS, 3 do
  local oldest = redis.call('XRANGE', KEYS[i], '-', '+', 'COUNT', 1)
  local age = 0
  if oldest[1] then
    age = math.max(0, now - tonumber(string.match(oldest[1][1], '^%d+')))
  end
  out[#out + 1] = redis.call('XLEN', KEYS[i])
  out[#out + 1] = redis.call('XLEN', KEYS[i + 1])
  out[#out + 1] = redis.call('ZCARD', KEYS[i + 2])
  out[#out + 1] = age
end
return out
