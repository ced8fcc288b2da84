#!lua flags=allow-oom
-- Shows a parked entity. Fenced. Reads only.
--
-- KEYS[1]    lease
-- KEYS[2,3]  the entity's parked list, its record
-- ARGV[1,2]  owner, epoch
-- ARGV[3,4]  position of the first entry, from 0; most entries
--
-- Returns {how many entries wait, attempt, state, {"id base packed", …}, 1 if
-- the entity is spilled, else 0}.
-- Twice: the same.
local meta = redis.call('HMGET', KEYS[3], 'attempt', 'state', 'kind')
local entries = {}
if tonumber(ARGV[4]) > 0 then
  entries = redis.call('LRANGE', KEYS[2], ARGV[3], ARGV[3] + ARGV[4] - 1)
end
return {redis.call('LLEN', KEYS[2]), meta[1] or '0', meta[2] or '', entries,
  is_spilled(meta[3], meta[1], meta[2]) and 1 or 0}
