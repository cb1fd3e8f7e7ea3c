-- How the keys of a queue begin on a server of its own: each queue has a hash tag.
--
-- INVARIANTS
--   First in every script that runs outside of a cluster; cluster.lua stands there otherwise.

local function tag(namespace, queue)
  return '{' .. namespace .. ':' .. queue .. '}:'
end
