#!lua flags=allow-oom
-- Notes that people were told of a pause.
--
-- KEYS[1]  state of the source
-- ARGV[1]  since when the pause is that they were told of, ms
-- ARGV[2]  what they were told
--
-- Returns 1, or 0 if it is another pause by now. Twice: the same.
if redis.call('HGET', KEYS[1], 'since') ~= ARGV[1] then
  return 0
end
redis.call('HSET', KEYS[1], 'told', ARGV[2])
return 1
