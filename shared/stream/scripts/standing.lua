#!lua flags=allow-oom
-- Shows which work of events the entries of one page of a stream stand for.
-- Reads only. A page is small: an event's own entry may be long, and no other
-- client is served meanwhile.
--
-- KEYS[1]  live stream
-- ARGV[1]  id to begin with
-- ARGV[2]  most entries
--
-- Returns {id of the last entry, '' when there was none; then for each entry:
-- id, entity key, id of its cause}. Twice: the same.
local page = redis.call('XRANGE', KEYS[1], ARGV[1], '+', 'COUNT', ARGV[2])
local out = {''}
for _, entry in ipairs(page) do
  local fields = {}
  for i = 1, #entry[2], 2 do
    fields[entry[2][i]] = entry[2][i + 1]
  end
  out[1] = entry[1]
  out[#out + 1] = entry[1]
  out[#out + 1] = fields['k'] or ''
  out[#out + 1] = fields['i'] or ''
end
return out
