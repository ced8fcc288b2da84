#!lua flags=allow-oom
-- Resumes a source after a good probe, unless it was paused again meanwhile.
--
-- KEYS[1]  state of the source
-- KEYS[2]  who probes it
-- ARGV[1]  token of the probe
--
-- Returns 1 if the source is not paused now, else 0.
--
-- Every pause takes the right to probe away, so a holder that still has it knows that
-- nothing has happened since. Twice: the second run finds nothing to end.
if redis.call('GET', KEYS[2]) == ARGV[1] then
  redis.call('DEL', KEYS[1], KEYS[2])
end
return 1 - redis.call('EXISTS', KEYS[1])
