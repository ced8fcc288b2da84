#!lua flags=allow-oom
-- Claims one page of what was delivered and not acked, by any holder, in
-- stream order. Fenced.
--
-- KEYS[1]    lease
-- KEYS[2]    stream
-- KEYS[3]    due times of the source's parked entities
-- ARGV[1,2]  owner, epoch
-- ARGV[3]    name of the consumer group; the consumer is the owner
-- ARGV[4]    field of the lease that holds this stream's sequence number
-- ARGV[5]    the number it gets after the last page
-- ARGV[6,7]  id to begin at; entries a page
-- ARGV[8]    name of the entry field that holds the entity key
--
-- Returns {id of the next page or "0-0", entries as read.lua, ids whose data
-- is gone}. After the last page it drops the consumers of former owners, each
-- only when nothing is pending for it (to drop one drops its pending entries),
-- and sets the sequence number: reads are in step again.
--
-- Twice: the same page again; ids whose data is gone are reported once only.
local page = redis.pcall('XAUTOCLAIM', KEYS[2], ARGV[3], ARGV[1], 0, ARGV[6], 'COUNT', ARGV[7])
if page.err then
  if not string.find(page.err, 'NOGROUP', 1, true) then
    return redis.error_reply(page.err)
  end
  redis.call('XGROUP', 'CREATE', KEYS[2], ARGV[3], '0', 'MKSTREAM')
  page = {'0-0', {}, {}}
end

local any_parked = redis.call('EXISTS', KEYS[3]) == 1
local out = {}
for _, entry in ipairs(page[2]) do
  local parked = false
  if any_parked then
    for i = 1, #entry[2], 2 do
      if entry[2][i] == ARGV[8] then parked = redis.call('ZSCORE', KEYS[3], entry[2][i + 1]) end
    end
  end
  out[#out + 1] = {entry[1], entry[2], parked and 1 or 0}
end

if page[1] == '0-0' then
  for _, consumer in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[2], ARGV[3])) do
    local c = {}
    for i = 1, #consumer, 2 do c[consumer[i]] = consumer[i + 1] end
    if c.name ~= ARGV[1] and c.pending == 0 then
      redis.call('XGROUP', 'DELCONSUMER', KEYS[2], ARGV[3], c.name)
    end
  end
  if tonumber(redis.call('HGET', KEYS[1], ARGV[4]) or '0') < tonumber(ARGV[5]) then
    redis.call('HSET', KEYS[1], ARGV[4], ARGV[5])
  end
end
return {page[1], out, page[3]}
