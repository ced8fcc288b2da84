#!lua flags=allow-oom
-- Notes that hints wait for the sequencer of a source in some shards, which wakes it.
--
-- KEYS[1]  the bell: a sorted set of shards, by the time of the first ring
-- ARGV     shards
--
-- Returns how many had not rung. Twice: the same shards ring again.
local rung, now = 0, now_ms()
for i = 1, #ARGV do
  rung = rung + redis.call('ZADD', KEYS[1], 'NX', now, ARGV[i])
end
return rung
