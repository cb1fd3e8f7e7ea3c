-- Reads the next records of a listing, by creation, over queues and states.
--
-- ARGV     2 = queue ('' = all), 3 = state ('' = all), 4 = 1 if newest first,
--          5 = the place to begin behind ('' = at the end), 6 = how many, 7 = 1 with history
-- RETURNS  {now, {{queue, id, record without payload} ...}}

local newest, count = ARGV[4] == '1', tonumber(ARGV[6])
local queues = ARGV[2] ~= '' and { ARGV[2] } or call('SMEMBERS', G .. 'q')
local after = ARGV[5] ~= '' and '(' .. ARGV[5]
local found = {}

-- Adds the running jobs of a queue behind the place: there are as many as all workers have slots.
local function add_running(queue)
  for _, session in ipairs(call('HKEYS', SESSIONS)) do
    for _, who in ipairs(call('HKEYS', held_key(session))) do
      local held_queue, id = split(who)
      local row = held_queue == queue and row_of(queue, id)
      local place = after and tonumber(ARGV[5])
      if row and (not place or (newest and row.seq < place) or (not newest and row.seq > place)) then
        found[#found + 1] = { queue, id, row.seq }
      end
    end
  end
end

-- Adds the next jobs that an index by creation holds.
local function add_indexed(queue, index)
  local part
  if newest then
    part = call('ZREVRANGEBYSCORE', index, after or '+inf', '-inf', 'WITHSCORES', 'LIMIT', 0, count)
  else
    part = call('ZRANGEBYSCORE', index, after or '-inf', '+inf', 'WITHSCORES', 'LIMIT', 0, count)
  end
  for i = 1, #part, 2 do
    found[#found + 1] = { queue, part[i], tonumber(part[i + 1]) }
  end
end

for _, queue in ipairs(queues) do
  local n, only = names(queue), tonumber(ARGV[3])
  if not only or only == RUNNING then
    add_running(queue)
  end
  if not only or only == WAITING then
    for prio = 0, 3 do
      add_indexed(queue, n.turns[prio])
    end
  end
  for state = 0, 5 do
    if not only or only == state then
      add_indexed(queue, n.state[state])
    end
  end
end
table.sort(found, function(one, other)
  if newest then
    one, other = other, one
  end
  return one[3] < other[3]
end)
local reply = {}
for i = 1, math.min(#found, count) do
  local queue, id, seq = found[i][1], found[i][2], found[i][3]
  local row = row_of(queue, id)
  if row then
    local text = slim(row)
    reply[#reply + 1] = { queue, id, text, seq, ARGV[7] == '1' and row.history or '' }
  else
    reply[#reply + 1] = { queue, id, '', seq, '' }
  end
end
return { now, reply }
