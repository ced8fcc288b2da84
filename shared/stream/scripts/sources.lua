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
-- if it is not paused}. Twice: the same.
local fields = {unpack(ARGV, 2, 1 + ARGV[1])}
local out = {redis.call('HMGET', KEYS[1], unpack(ARGV, 2 + ARGV[1]))}
local paused = redis.call('EXISTS', unpack(KEYS, 2)) > 0
for i = 2, #KEYS do
  if paused and pause_ends(KEYS[i], now_ms()) then
    out[i] = redis.call('HMGET', KEYS[i], unpack(fields))
  else
    out[i] = {}
  end
end
return out
