#!lua flags=allow-oom
-- Shows one shard. Reads only.
--
-- KEYS[1]  lease
-- KEYS[2…] for each source: live stream, background stream, due times
--
-- Returns {owner, epoch, for each source: live, background, parked, ages of the
-- oldest live and background entry in ms}. Twice: the same.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local held = redis.call('HMGET', KEYS[1], 'owner', 'epoch')
local out = {held[1] or '', held[2] or '0'}
local function age(stream)
  local oldest = redis.call('XRANGE', stream, '-', '+', 'COUNT', 1)
  if not oldest[1] then
    return 0
  end
  return math.max(0, now - tonumber(string.match(oldest[1][1], '^%d+')))
end

for i = 2, #KEYS, 3 do
  out[#out + 1] = redis.call('XLEN', KEYS[i])
  out[#out + 1] = redis.call('XLEN', KEYS[i + 1])
  out[#out + 1] = redis.call('ZCARD', KEYS[i + 2])
  out[#out + 1] = age(KEYS[i])
  out[#out + 1] = age(KEYS[i + 1])
end
return out
