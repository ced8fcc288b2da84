-- Precedes the scripts that take settled entries out: they leave, in the same step,
-- what the change feed may lack of the entities.

-- Adds hints, ARGV[first] to ARGV[last], to the sorted set of a source by the time
-- they were first left. Where there are most of them already no sequencer takes any,
-- and what is not left here is found in the store.
local function leave_hints(hints, most, first, last)
  if last < first then
    return
  end
  local room, now = tonumber(most) - redis.call('ZCARD', hints), now_ms()
  for i = first, last do
    if room <= 0 then
      return
    end
    room = room - redis.call('ZADD', hints, 'NX', now, ARGV[i])
  end
end
