-- Precedes the scripts that distinguish spilled entities from failed ones.

-- Whether a parked entity is spilled, given the fields kind, attempt and state of
-- its record. Older versions wrote no kind: what they parked without an attempt
-- and a state is spilled. They also leave the kind as it is when a spilled entity
-- fails, so one with an attempt or a state has failed, whatever its kind says.
local function is_spilled(kind, attempt, state)
  return (not kind or kind == 'spilled') and attempt == '0' and state == ''
end
