-- Appends entries, each unless its mark is there already, and marks them.
--
-- KEYS     for each entry: stream, mark; the stream again for an entry without
-- ARGV[1]  how long the marks of events stay, ms
-- ARGV[2…5]  names of the fields of an entry
-- ARGV     for each entry: what its mark remembers, and its values. Of an event
--          that is the hash of its body, and four values; of a signal without an
--          event '@' and how long its mark stays, ms in hex, or '' without a mark,
--          and three values, for it has no last field
--
-- Returns for each entry "<stream id>" when appended, "=<value of the mark>"
-- when not, "!<error>" when Redis refused it; the others are not touched by it.
--
-- A mark that remembers other bodies is of other events with the same id: the
-- entry is appended, and the mark names it and remembers its body too, the last
-- four in all. A mark without a hash, as older versions wrote them, takes every
-- body for the same. So does a mark of a signal without an event, of which the
-- time takes the place of the hash.
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
--
-- Every call of Redis, every value and every text made here costs Redis about as
-- much as a tenth of an append. So a new event takes two calls, and nothing is
-- sent or made twice.
local names = {}
for i = 2, #KEYS, 2 do
  names[i / 2] = KEYS[i]
end
local marks = redis.call('MGET', unpack(names))

local lifetime, f1, f2, f3, f4 = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local out, fresh, at = {}, {}, 6 -- fresh: marks made in this call
local pcall, call = redis.pcall, redis.call

for n = 1, #names do
  local stream, mark, body, ttl = KEYS[2 * n - 1], names[n], ARGV[at], lifetime
  local event = body ~= '' and string.byte(body) ~= 64 -- @
  if not event and body ~= '' then
    body = string.sub(body, 2)
    ttl = tonumber(body, 16)
  end
  local value = fresh[mark] or marks[n]
  local known = '' -- the bodies a mark knows: " <hash> <hash>"
  if value then
    known = string.match(value, ' .+$') or ''
    if redis.call('PTTL', mark) > tonumber(ttl) then -- the clock was set back
      redis.call('PEXPIRE', mark, ttl)
    end
  end
  if value and (body == '' or known == '' or string.find(known .. ' ', ' ' .. body .. ' ', 1, true)) then
    out[n] = '=' .. value
  else
    local id
    if event then
      id = pcall('XADD', stream, '*', f1, ARGV[at + 1], f2, ARGV[at + 2], f3, ARGV[at + 3], f4, ARGV[at + 4])
    else
      id = pcall('XADD', stream, '*', f1, ARGV[at + 1], f2, ARGV[at + 2], f3, ARGV[at + 3])
    end
    if type(id) == 'table' then
      out[n] = '!' .. id.err
    else
      if body ~= '' then
        if known ~= '' then
          known = string.match(known, ' %x+ %x+ %x+$') or known
        end
        fresh[mark] = 'queued:' .. id .. known .. ' ' .. body
        call('SET', mark, fresh[mark], 'PX', ttl)
      end
      out[n] = id
    end
  end
  at = at + (event and 5 or 4)
end
return out
