#!lua flags=allow-oom
-- Names parked entities of one source in one shard, in the order of their due times,
-- then of their names. Needs no lease. Reads only.
--
-- KEYS[1]    due times of the source's parked entities
-- ARGV[1,2]  due time and name after which to begin; '' for both: from the first
-- ARGV[3]    most entities
--
-- Returns {name, due time, …}. Twice: the same.

-- Whether a comes before b or is the same, by bytes as Redis sorts: the comparison of
-- Lua goes by the locale.
local function up_to(a, b)
  for i = 1, math.min(#a, #b) do
    local x, y = string.byte(a, i), string.byte(b, i)
    if x ~= y then
      return x < y
    end
  end
  return #a <= #b
end

-- The rank of the first after a place. Of the names that share its due time, of which
-- there may be many after a retry of all, it is found by halving.
local function rank_after(due, at, name)
  local low = redis.call('ZCOUNT', due, '-inf', '(' .. at)
  local high = redis.call('ZCOUNT', due, '-inf', at)
  while low < high do
    local middle = math.floor((low + high) / 2)
    if up_to(redis.call('ZRANGE', due, middle, middle)[1], name) then
      low = middle + 1
    else
      high = middle
    end
  end
  return low
end

local from = 0
if ARGV[1] ~= '' then
  from = rank_after(KEYS[1], ARGV[1], ARGV[2])
end
return redis.call('ZRANGE', KEYS[1], from, from + ARGV[3] - 1, 'WITHSCORES')
