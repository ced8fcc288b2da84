#!lua flags=allow-oom
-- Notes how far the log of a source's change feed has come. Fenced.
--
-- KEYS[1]    lease of the source's sequencer
-- KEYS[2]    the note, on the same node
-- ARGV[1,2]  owner, epoch
-- ARGV[3]    generation
-- ARGV[4]    last position
-- ARGV[5]    tag of its batch
--
-- Returns 0. Twice: the same again.
redis.call('HSET', KEYS[2], 'gen', ARGV[3], 'position', ARGV[4], 'tag', ARGV[5])
return 0
