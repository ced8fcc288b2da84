-- Stands before every script that only the leaseholder may run.
--
-- KEYS[1]  lease
-- ARGV[1]  owner
-- ARGV[2]  epoch
--
-- Fails with FENCED unless the lease is there and has both. A lease that
-- Redis lost has no owner: its holder must take it again.
local held = redis.call('HMGET', KEYS[1], 'owner', 'epoch')
if held[1] ~= ARGV[1] or held[2] ~= ARGV[2] then
  return redis.error_reply('FENCED lease ' .. KEYS[1] .. ' is not held by ' .. ARGV[1])
end
