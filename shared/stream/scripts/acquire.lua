#!lua flags=allow-oom
-- Takes the lease of a shard if it is free, or if the same worker has it
-- from an earlier try, and makes the consumer groups.
--
-- KEYS[1]  lease
-- KEYS[2]  epoch, which outlives the lease
-- KEYS[3…] streams
-- ARGV[1]  owner
-- ARGV[2]  token of this call
-- ARGV[3]  TTL of the lease, ms
-- ARGV[4]  name of the consumer group
-- ARGV[5]  how long the epoch is kept, ms; 0: for ever. It follows the clock, so
--          it has to outlive a clock that is set back, no more
--
-- Returns the epoch, or fails with HELD.
--
-- Twice: the second run finds its own token and answers the same epoch. A new
-- call of the same worker has another token and gets a new epoch, so whatever
-- it still has under way from its former lease is fenced.
local held = redis.call('HMGET', KEYS[1], 'owner', 'token', 'epoch', 'ttl')
if held[1] and held[1] ~= ARGV[1] then
  -- Its holder renews it; one that died leaves it no longer than its own TTL,
  -- or ours, if a version took it that did not keep that.
  within(KEYS[1], held[4] or ARGV[3])
  return redis.error_reply('HELD by ' .. held[1])
end

local epoch = held[3]
if held[2] ~= ARGV[2] then
  -- Following the clock keeps the epoch growing when Redis has lost it.
  local last = tonumber(redis.call('GET', KEYS[2]) or '0')
  epoch = string.format('%.0f', math.max(last + 1, now_ms()))
  redis.call('SET', KEYS[2], epoch)
  if ARGV[5] ~= '0' then
    redis.call('PEXPIRE', KEYS[2], ARGV[5])
  end
  redis.call('DEL', KEYS[1]) -- the read sequences of the former lease
  redis.call('HSET', KEYS[1], 'owner', ARGV[1], 'token', ARGV[2], 'epoch', epoch)
end
redis.call('HSET', KEYS[1], 'ttl', ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[3])

for i = 3, #KEYS do
  -- From id 0, never $: what was appended before the group was there counts.
  local made = redis.pcall('XGROUP', 'CREATE', KEYS[i], ARGV[4], '0', 'MKSTREAM')
  if made.err and not string.find(made.err, 'BUSYGROUP', 1, true) then
    return redis.error_reply(made.err)
  end
end
return epoch
