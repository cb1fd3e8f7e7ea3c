-- How the keys of a queue begin in a cluster, and why a script may run at all.
--
-- KEYS     1 = {namespace}:n, 2 = {namespace}:w, if replicas shall confirm what is answered
-- RETURNS  the error TRYAGAIN, if the slot is being moved
-- INVARIANTS
--   First in every script that runs in a cluster; alone.lua stands there otherwise.
--   A namespace has one hash tag, so one slot, so one primary: what a script reads and writes is there.
--   While a slot is moved, its keys go one by one. A script that took a key that is gone for one that
--   never was would write a second one. So none runs: a server answers with an error when somebody asks
--   it for a missing key of a slot that it hands over, and {namespace}:? is always missing.

local there = redis.pcall('EXISTS', '{' .. ARGV[1] .. '}:?')
if type(there) == 'table' then
  return redis.error_reply('TRYAGAIN the slot is being moved')
end
if KEYS[2] then
  -- WAIT looks at what a connection wrote. "Stored already" wrote nothing, though the replicas may not
  -- have it yet: this write stands behind everything.
  redis.call('SET', KEYS[2], '')
end

local function tag(namespace, queue)
  return '{' .. namespace .. '}:q:' .. queue .. ':'
end
