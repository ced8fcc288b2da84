#!lua flags=allow-oom
-- Shows the states of sources. Changes nothing but pauses from before the clock
-- was set back. Every worker runs it all the time, so where none is paused it
-- only reads.
--
-- KEYS[1]  texts that RetryParked changes, by source
-- KEYS[2…] states of the sources
-- ARGV[1]  how many fields of a state are asked for
-- ARGV     their names; then the names of the sources
--
-- Returns {the text of each source, for each source the values of the fields: none
-- if it is not paused}. In place of what is of another type there is an error.
-- Twice: the same.
local fields = {unpack(ARGV, 2, 1 + ARGV[1])}
local function look_at(state)
  if not pause_ends(state, now_ms()) then
    return {}
  end
  return redis.call('HMGET', state, unpack(fields))
end

local out = {redis.pcall('HMGET', KEYS[1], unpack(ARGV, 2 + ARGV[1]))}
local paused = redis.call('EXISTS', unpack(KEYS, 2)) > 0
for i = 2, #KEYS do
  out[i] = paused and part(look_at, KEYS[i]) or {}
end
return out
