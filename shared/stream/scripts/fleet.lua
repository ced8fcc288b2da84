#!lua flags=allow-oom
-- Shows one shard. Reads only.
--
-- KEYS[1]  lease
-- KEYS[2…] for each source: live stream, background stream, due times
-- ARGV[1,2] what the names of parked lists and of records begin with
-- ARGV[3]  most parked entities of a source to look at, first those due first;
--          where there are more, the share of them that is spilled, and what
--          waits for it, is an estimate. 0: none, and nothing counts as spilled
--
-- Returns {owner, epoch, Redis' time in ms, for each source: live, background,
-- parked, ids of the oldest live and background entry, '' for none, how many of
-- the first ARGV[3] background entries are held back until a later time}. Twice:
-- the same. What is spilled, which is parked with a record without attempt and
-- state, counts as live.
local held = redis.call('HMGET', KEYS[1], 'owner', 'epoch')
local out = {held[1] or '', held[2] or '0', now_ms()}
local function older(a, b)
  if a == '' or b == '' then
    return a .. b
  end
  return tonumber(string.match(a, '^%d+')) <= tonumber(string.match(b, '^%d+')) and a or b
end

local function first(stream)
  local oldest = redis.call('XRANGE', stream, '-', '+', 'COUNT', 1)
  return oldest[1] and oldest[1][1] or ''
end

-- How many entities are spilled, how many entries wait for them, and the id of
-- the oldest.
local function spilled(due, parked)
  local entities, entries, oldest = 0, 0, ''
  local looked = math.min(parked, ARGV[3])
  if looked == 0 then
    return 0, 0, ''
  end
  for _, entity in ipairs(redis.call('ZRANGE', due, 0, looked - 1)) do
    local record = redis.call('HMGET', ARGV[2] .. entity, 'attempt', 'state')
    local head = record[1] == '0' and record[2] == '' and redis.call('LINDEX', ARGV[1] .. entity, 0)
    if head then
      entities = entities + 1
      entries = entries + redis.call('LLEN', ARGV[1] .. entity)
      oldest = older(oldest, string.match(head, '^%S+'))
    end
  end
  return math.floor(entities * parked / looked), math.floor(entries * parked / looked), oldest
end

-- How many of the first entries of a stream are held back until a later time:
-- their head says until when, in microseconds.
local function scheduled(stream)
  local n, now = 0, now_ms() * 1000
  if ARGV[3] == '0' then
    return n
  end
  for _, entry in ipairs(redis.call('XRANGE', stream, '-', '+', 'COUNT', ARGV[3])) do
    local fields = entry[2]
    for j = 1, #fields, 2 do
      local at = fields[j] == 'h' and string.match(fields[j + 1], ',"n":(%d+)')
      if at and tonumber(at) > now then
        n = n + 1
      end
    end
  end
  return n
end

for i = 2, #KEYS, 3 do
  local parked = redis.call('ZCARD', KEYS[i + 2])
  local entities, entries, oldest = spilled(KEYS[i + 2], parked)
  out[#out + 1] = redis.call('XLEN', KEYS[i]) + entries
  out[#out + 1] = redis.call('XLEN', KEYS[i + 1])
  out[#out + 1] = parked - entities
  out[#out + 1] = older(first(KEYS[i]), oldest)
  out[#out + 1] = first(KEYS[i + 1])
  out[#out + 1] = scheduled(KEYS[i + 1])
end
return out
