-- Reads what stands in the books of the namespace: sessions, limits, documents, events.
--
-- ARGV     2 = what to read, then its own arguments
-- RETURNS  sessions: {{id, lease, expires, opened, name, info, running} ...}; limits: flat kind, name,
--          number; document(s): flat name, 8 bytes of version and data; events: {number of the last
--          entry, number of the first one returned, entries}

local function sessions()
  local found = {}
  for _, s in ipairs(each_session()) do
    if s.ended == 0 and not s.garbage then
      found[#found + 1] = { s.id, s.lease, s.expires, s.opened, s.name, s.info, call('HLEN', held_key(s.id)) }
    end
  end
  return found
end

local function limits()
  local found, keys = {}, call('HGETALL', G .. 'kl')
  for i = 1, #keys, 2 do
    found[#found + 1], found[#found + 2], found[#found + 3] = 'key', keys[i], tonumber(keys[i + 1])
  end
  for _, queue in ipairs(call('SMEMBERS', G .. 'q')) do
    local limit = call('HGET', names(queue).numbers, 'limit')
    if limit then
      found[#found + 1], found[#found + 2], found[#found + 3] = 'queue', queue, tonumber(limit)
    end
  end
  return found
end

local function events(after, limit)
  local last = tonumber(call('HGET', COUNTERS, 'event') or '0')
  if after == '' then
    return { last, last, {} }
  end
  local first = last - call('LLEN', G .. 'ev') -- the number before that of the oldest entry
  local start = tonumber(after)
  if start < first or start > last then
    start = first
  end
  return { last, start, call('LRANGE', G .. 'ev', start - first, start - first + limit - 1) }
end

if ARGV[2] == 'sessions' then
  return sessions()
elseif ARGV[2] == 'limits' then
  return limits()
elseif ARGV[2] == 'events' then
  return events(ARGV[3], tonumber(ARGV[4]))
elseif ARGV[2] == 'documents' then
  return call('HGETALL', G .. 'd')
end
local one = call('HGET', G .. 'd', ARGV[3])
return one and { ARGV[3], one } or {}
