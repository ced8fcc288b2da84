#!lua flags=allow-oom
-- Notes that an alert of a pause is being raised, or was.
--
-- KEYS[1]  state of the source
-- ARGV[1]  since when the pause is that the alert is of, ms
-- ARGV[2]  what the alert says
-- ARGV[3]  how long raising it takes at most, ms; 0: it was raised
--
-- Returns 1 if it is noted, 0 if not: it is another pause by now, it was raised
-- already, or another worker is raising it.
--
-- Twice: the second run of one that ends changes nothing. That of one that begins
-- finds another worker, itself: the alert
-- is then raised once its time is over.
local was = redis.call('HMGET', KEYS[1], 'since', 'told', 'telling')
if was[1] ~= ARGV[1] or was[2] == ARGV[2] then
  return 0
end
local takes = tonumber(ARGV[3])
if takes == 0 then
  redis.call('HSET', KEYS[1], 'told', ARGV[2], 'telling', 0)
  return 1
end
local now, ends = now_ms(), tonumber(was[3] or '0')
if ends > now and ends <= now + takes then -- else the clock was set back
  return 0
end
redis.call('HSET', KEYS[1], 'telling', now + takes)
return 1
