#!lua flags=allow-oom
-- Delivers the next new entries of a stream to the leaseholder. Fenced.
--
-- KEYS[1]    lease
-- KEYS[2]    stream
-- KEYS[3]    due times of the source's parked entities
-- ARGV[1,2]  owner, epoch
-- ARGV[3]    name of the consumer group; the consumer is the owner
-- ARGV[4]    field of the lease that holds this stream's sequence number
-- ARGV[5,6]  the number it must have, the number it gets
-- ARGV[7,8]  most entries; bytes after which to stop
-- ARGV[9]    name of the entry field that holds the entity key
--
-- Returns {1 if it stopped at a limit, so that there may be more, {{id, {field,
-- value, …}, 1 if the entity is parked}, …}}, or fails with RESYNC: the number
-- is another, or the group was gone (it is made again).
--
-- Twice: a run that delivered something raised the number, so the second fails
-- with RESYNC instead of delivering what comes after a reply that was lost. A run
-- that delivered nothing changed nothing.
local seq = redis.call('HGET', KEYS[1], ARGV[4])
if seq ~= ARGV[5] then
  return redis.error_reply('RESYNC sequence is ' .. tostring(seq) .. ', not ' .. ARGV[5])
end

local chunk_size = 10 -- how far past the limit in bytes a read may go
local most, bytes_left = tonumber(ARGV[7]), tonumber(ARGV[8])
local any_parked = redis.call('EXISTS', KEYS[3]) == 1
local out, more = {}, 1

-- True if the entity named in an entry's fields is parked; counts the bytes.
local function look_at(fields)
  local entity
  for i = 1, #fields, 2 do
    bytes_left = bytes_left - #fields[i] - #fields[i + 1]
    if fields[i] == ARGV[9] then entity = fields[i + 1] end
  end
  return any_parked and entity and redis.call('ZSCORE', KEYS[3], entity)
end

while #out < most and bytes_left > 0 do
  local count = math.min(chunk_size, most - #out)
  local reply = redis.pcall('XREADGROUP', 'GROUP', ARGV[3], ARGV[1], 'COUNT', count, 'STREAMS', KEYS[2], '>')
  if not reply then more = 0; break end
  if reply.err then
    if string.find(reply.err, 'NOGROUP', 1, true) then
      redis.call('XGROUP', 'CREATE', KEYS[2], ARGV[3], '0', 'MKSTREAM')
      return redis.error_reply('RESYNC group of ' .. KEYS[2] .. ' was gone')
    end
    return redis.error_reply(reply.err)
  end
  local entries = reply[1][2]
  for _, entry in ipairs(entries) do
    out[#out + 1] = {entry[1], entry[2], look_at(entry[2]) and 1 or 0}
  end
  if #entries < count then more = 0; break end
end

if #out > 0 then
  redis.call('HSET', KEYS[1], ARGV[4], ARGV[6])
end
return {more, out}
