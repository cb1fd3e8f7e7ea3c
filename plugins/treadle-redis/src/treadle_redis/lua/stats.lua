-- Counts the jobs of every queue by state, without looking at any.
--
-- RETURNS  {now, {{queue, blocked, waiting, running, succeeded, dead, cancelled, later, paused,
--          oldest due or ''} ...}}

local function oldest_due(queue)
  local oldest = ''
  for prio = 0, 3 do
    local turns = call('ZRANGE', names(queue).turns[prio], 0, 0)
    local came = turns[1] and row_of(queue, turns[1])
    if came and (oldest == '' or came.due < oldest) then
      oldest = came.due
    end
    local from, line = 0, names(queue).timers[prio]
    local found = call('ZRANGEBYSCORE', line, '-inf', now, 'WITHSCORES', 'LIMIT', 0, 1)
    while found[1] do
      local due, let_in_first = tonumber(found[2]), tonumber(found[2]) == 0
      local row = let_in_first and row_of(queue, string.sub(found[1], 9))
      due = row and row.due or due
      if (row or not let_in_first) and (oldest == '' or due < oldest) then
        oldest = due
      end
      from = from + 1
      found = let_in_first
        and call('ZRANGEBYSCORE', line, '-inf', now, 'WITHSCORES', 'LIMIT', from, 1) or {}
    end
  end
  return oldest
end

local found, queues = {}, call('SMEMBERS', G .. 'q')
table.sort(queues)
for i, queue in ipairs(queues) do
  local n, counted = names(queue), { queue }
  for state = 0, 5 do
    counted[state + 2] = state == RUNNING and tonumber(call('HGET', n.numbers, 'running') or '0')
      or state == WAITING and waiting_of(queue) or call('ZCARD', n.state[state])
  end
  local later = 0
  for prio = 0, 3 do
    later = later + call('ZCOUNT', n.timers[prio], '(' .. string.format('%.0f', now), '+inf')
  end
  counted[8] = later
  counted[9] = call('HGET', n.numbers, 'paused') == '1' and 1 or 0
  counted[10] = oldest_due(queue)
  found[i] = counted
end
return { now, found }
