#!lua flags=allow-oom
-- Adds to counts.
--
-- KEYS[1]  the counts
-- ARGV[1]  how long they stay, ms
-- ARGV     name, number, name, number …
--
-- Returns 1. Twice: counts twice. They are shown to people, and nothing relies on
-- them.
for i = 2, #ARGV, 2 do
  local was = tonumber(redis.call('HGET', KEYS[1], ARGV[i]) or 0)
  redis.call('HSET', KEYS[1], ARGV[i], string.format('%.0f', was + tonumber(ARGV[i + 1])))
end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return 1
