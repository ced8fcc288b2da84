-- Appends entries, each unless its mark is there already, and marks them.
--
-- KEYS     for each entry: stream, mark; the stream again for an entry without
-- ARGV     for each entry: how long its mark stays, ms; hash of the event's body,
--          of a signal without an event that time in hex instead, '' for neither;
--          how many values follow; field, value, field, value …
--
-- Returns for each entry "+<stream id>" when appended, "=<value of the mark>"
-- when not, "!<error>" when Redis refused it; the others are not touched by it.
--
-- A mark that remembers other bodies is of other events with the same id: the
-- entry is appended, and the mark names it and remembers its body too, the last
-- four in all. A mark without a hash, as older versions wrote them, takes every
-- body for the same.
--
-- Twice: the second run finds the marks of the first. An entry without a mark
-- is there twice, which is one look too many at an entity; so are entries of more
-- than four bodies with one id in one call.
--
-- The entry comes before the mark, since scripts do not roll back: a mark
-- without its entry would lose the event. This is run without allow-oom (and
-- without a shebang, under which Redis would refuse it whole): at the memory
-- limit XADD is refused, while a duplicate is still recognised. Signals that
-- entries already taken lead to are appended by the same text with allow-oom.
local names = {}
for i = 2, #KEYS, 2 do
  names[i / 2] = KEYS[i]
end
local marks = redis.call('MGET', unpack(names))

local out, at = {}, 1
local fresh = {} -- marks made in this call

-- remembered returns the bodies a mark knows: " <hash> <hash>", '' for none.
local function remembered(value)
  return value and string.match(value, ' .+$') or ''
end

for i = 1, #KEYS, 2 do
  local stream, mark, last = KEYS[i], KEYS[i + 1], at + 2 + ARGV[at + 2]
  local body = ARGV[at + 1]
  local value = fresh[mark] or marks[#out + 1]
  local known = remembered(value)
  if value and redis.call('PTTL', mark) > tonumber(ARGV[at]) then -- the clock was set back
    redis.call('PEXPIRE', mark, ARGV[at])
  end
  if value and (body == '' or known == '' or string.find(known .. ' ', ' ' .. body .. ' ', 1, true)) then
    out[#out + 1] = '=' .. value
  else
    local id = redis.pcall('XADD', stream, '*', unpack(ARGV, at + 3, last))
    if type(id) == 'table' then
      out[#out + 1] = '!' .. id.err
    else
      if mark ~= stream then
        if body ~= '' then -- one space before each
          known = string.match(known, ' %x+ %x+ %x+$') or known
          known = known .. ' ' .. body
        end
        fresh[mark] = 'queued:' .. id .. known
        redis.call('SET', mark, fresh[mark], 'PX', ARGV[at])
      end
      out[#out + 1] = '+' .. id
    end
  end
  at = last + 1
end
return out
