-- Drops final records past their retention, and what need not be known any longer.
--
-- ARGV     2 = limit
-- RETURNS  how many records were dropped
-- INVARIANTS
--   The floor of a queue is raised by what goes, so that no fence of it comes again.

local HOUR, FORGOTTEN_AT_ONCE = 3600000, 1000
local limit, dropped = tonumber(ARGV[2]), 0

local function drop_finals(queue)
  local n = names(queue)
  local ids = call('ZRANGEBYSCORE', n.finals, '-inf', now, 'LIMIT', 0, limit - dropped)
  prefetch(queue, ids)
  for _, id in ipairs(ids) do
    local row = row_of(queue, id)
    if row and is_final(row) then
      remove(row, row.finished + row.remember)
      dropped = dropped + 1
    else
      put(n.finals, id, false)
    end
  end
end

local function forget_ids(queue)
  local n = names(queue)
  local ids = call('ZRANGEBYSCORE', n.forget, '-inf', now, 'LIMIT', 0, FORGOTTEN_AT_ONCE)
  if #ids > 0 then
    prefetch(queue, ids)
    prefetch_memories(queue, ids)
  end
  for _, id in ipairs(ids) do
    local memory = memory_of(queue, id)
    if memory then
      raise_floor(queue, memory.fence)
      if not row_of(queue, id) then
        drop_key(queue, id, memory.ukey)
      end
    end
    forget(queue, id)
  end
end

for _, queue in ipairs(call('SMEMBERS', G .. 'q')) do
  if dropped < limit then
    drop_finals(queue)
    flush()
  end
  forget_ids(queue)
  flush()
end
for _, session in ipairs(each_session()) do
  local over = session.ended > 0 and session.ended or session.expires
  if over <= now - HOUR and call('EXISTS', held_key(session.id)) == 0 then
    call('HDEL', SESSIONS, session.id)
  end
end
return dropped
