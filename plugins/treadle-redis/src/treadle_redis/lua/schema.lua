-- Looks which version of the layout this namespace has; a fresh one gets ours.
--
-- ARGV     2 = our version
-- RETURNS  the version that stands

local found = call('HGET', COUNTERS, 'schema')
if not found then
  call('HSET', COUNTERS, 'schema', ARGV[2])
end
return tonumber(found or ARGV[2]) or -1
