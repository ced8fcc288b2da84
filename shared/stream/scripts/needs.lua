#!lua flags=allow-oom
-- Names the commands that the user of this connection is not allowed and a
-- member of the fleet needs. Runs none of them.
--
-- KEYS[1]  a key as the fleet has them
-- ARGV     further commands without arguments that are needed, by settings
--
-- Returns their names. Twice: the same. A server that cannot tell (it is not
-- Redis 7) names none.
if not redis.acl_check_cmd then
  return {}
end
local k = KEYS[1]
local needed = {
  {'PING'}, {'TIME'}, {'EVAL', '', 1, k}, {'EVALSHA', '', 1, k}, {'SCRIPT', 'LOAD', ''},
  {'DEL', k}, {'EXISTS', k}, {'PEXPIRE', k, 1}, {'PTTL', k},
  {'GET', k}, {'MGET', k}, {'SET', k, ''}, {'SETNX', k, ''},
  {'HGET', k, ''}, {'HMGET', k, ''}, {'HSET', k, '', ''},
  {'LINDEX', k, 0}, {'LLEN', k}, {'LPOP', k}, {'LRANGE', k, 0, 0},
  {'LREM', k, 0, ''}, {'LSET', k, 0, ''}, {'RPUSH', k, ''}, {'SADD', k, ''}, {'SMEMBERS', k}, {'UNLINK', k},
  {'BZPOPMIN', k, 0}, {'ZADD', k, 0, ''}, {'ZCARD', k}, {'ZCOUNT', k, 0, 0}, {'ZRANGE', k, 0, 0}, {'ZRANGEBYSCORE', k, 0, 0},
  {'ZREM', k, ''}, {'ZREMRANGEBYSCORE', k, 0, 0}, {'ZSCORE', k, ''}, {'ZUNIONSTORE', k, 1, k},
  {'XACK', k, '', '0'}, {'XADD', k, '*', '', ''}, {'XAUTOCLAIM', k, '', '', 0, '0'}, {'XDEL', k, '0'},
  {'XGROUP', 'CREATE', k, '', '0'}, {'XGROUP', 'DELCONSUMER', k, '', ''}, {'XINFO', 'CONSUMERS', k, ''},
  {'XLEN', k}, {'XRANGE', k, '-', '+'}, {'XREAD', 'STREAMS', k, '0'},
  {'XREADGROUP', 'GROUP', '', '', 'STREAMS', k, '>'},
}
for _, command in ipairs(ARGV) do
  needed[#needed + 1] = {command, 0, 0}
end

local with_subcommands = {SCRIPT = true, XGROUP = true, XINFO = true}
local denied = {}
for _, command in ipairs(needed) do
  local known, allowed = pcall(redis.acl_check_cmd, unpack(command))
  if not (known and allowed) then
    denied[#denied + 1] = command[1] .. (with_subcommands[command[1]] and ' ' .. command[2] or '')
  end
end
return denied
