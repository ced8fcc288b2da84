-- Precedes scripts that answer for several sources. One key of another type, which
-- another program wrote, is to cost its own source alone.

-- What f returns for its arguments, or the error that it fails with.
local function part(f, ...)
  local ok, got = pcall(f, ...)
  if ok then
    return got
  end
  return redis.error_reply(type(got) == 'table' and got.err or got) -- Redis 7.0 has a text
end
