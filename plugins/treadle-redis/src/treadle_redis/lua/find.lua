-- Reads the next records of a listing, by creation, over queues and states.
--
-- ARGV     2 = queue ('' = all), 3 = state ('' = all), 4 = 1 if newest first,
--          5 = the place to begin behind ('' = at the end), 6 = how many, 7 = 1 with history,
--          8 = bytes that occur in the id or the record, 9, 10 = in the record, 11 = in its history
-- RETURNS  {now, how many were looked at, the place of the last one,
--           {{queue, id, record without payload and past, its place, history} ...}}
-- INVARIANTS
--   A record in which such bytes do not occur cannot match; one in which they do need not.
--
-- The indexes are merged: of each only so much is read as is looked at.

local newest, count = ARGV[4] == '1', tonumber(ARGV[6])
local queues = ARGV[2] ~= '' and { ARGV[2] } or call('SMEMBERS', G .. 'q')
local with_history = ARGV[7] == '1'
local SOME = 100
local NO_LENGTH = '\0\0\0\0'
local lists = {}

-- Reads the next part of an index by creation, behind a place; nil if there is none.
local function part_of(index, after)
  local command, from, to = 'ZRANGEBYSCORE', after or '-inf', '+inf'
  if newest then
    command, from, to = 'ZREVRANGEBYSCORE', after or '+inf', '-inf'
  end
  local part = call(command, index, from, to, 'WITHSCORES', 'LIMIT', 0, math.min(count, SOME))
  return #part > 0 and part or nil
end

-- Moves a list to its next job; false at its end. What comes first has the lowest `order`.
local function advance(list)
  list.at = list.at + 2
  if not list.part[list.at] then
    local last = list.part[list.at - 1]
    list.part = list.index and part_of(list.index, '(' .. last)
    if not list.part then
      return false
    end
    list.at = 1
  end
  local place = tonumber(list.part[list.at + 1])
  list.order = newest and -place or place
  return true
end

local function add_list(queue, index, part)
  local list = { queue = queue, index = index, part = part, at = -1 }
  if part and advance(list) then
    lists[#lists + 1] = list
  end
end

-- Adds the running jobs of a queue behind the place: there are as many as all workers have slots.
local function add_running(queue)
  local place, found = tonumber(ARGV[5]), {}
  for _, session in ipairs(call('HKEYS', SESSIONS)) do
    for _, who in ipairs(call('HKEYS', held_key(session))) do
      local held_queue, id = split(who)
      local row = held_queue == queue and row_of(queue, id)
      if row and (not place or (newest and row.seq < place) or (not newest and row.seq > place)) then
        found[#found + 1] = row
      end
    end
  end
  table.sort(found, function(one, other)
    if newest then
      one, other = other, one
    end
    return one.seq < other.seq
  end)
  local part = {}
  for _, row in ipairs(found) do
    part[#part + 1] = row.id
    part[#part + 1] = row.seq
  end
  add_list(queue, false, part)
end

local after = ARGV[5] ~= '' and '(' .. ARGV[5]
for _, queue in ipairs(queues) do
  local n, only = names(queue), tonumber(ARGV[3])
  if not only or only == RUNNING then
    add_running(queue)
  end
  if not only or only == WAITING then
    for prio = 0, 3 do
      add_list(queue, n.turns[prio], part_of(n.turns[prio], after))
    end
  end
  for state = 0, 5 do
    if not only or only == state then
      add_list(queue, n.state[state], part_of(n.state[state], after))
    end
  end
end

-- Chooses the jobs that come first, and reads their records, each queue's at once.
local function chosen()
  local found, ids = {}, {}
  while #found < count and #lists > 0 do
    local first = 1
    for i = 2, #lists do
      if lists[i].order < lists[first].order then
        first = i
      end
    end
    local list = lists[first]
    local queue, id = list.queue, list.part[list.at]
    found[#found + 1] = { queue, id, tonumber(list.part[list.at + 1]) }
    ids[queue] = ids[queue] or {}
    ids[queue][#ids[queue] + 1] = id
    if not advance(list) then
      table.remove(lists, first)
    end
  end
  for queue, wanted in pairs(ids) do
    prefetch(queue, wanted)
  end
  return found
end

local function has(text, bytes)
  return bytes == '' or string.find(text, bytes, 1, true)
end

-- Tells whether a job may be one that matches.
local function may_match(id, bare, history)
  return (has(bare, ARGV[8]) or has(id, ARGV[8])) and has(bare, ARGV[9]) and has(bare, ARGV[10])
    and has(history, ARGV[11])
end

-- Returns a record without payload and past, and its history; nil if more must be looked at, and
-- false if it cannot match.
local function shown(id, text)
  local front = front_of(text)
  local past = front.state and front.state <= 5 and front.prio <= 3 and past_of(text, front)
  local history_at = past and past + math.max(struct.unpack('<i4', text, RESULT_AT), 0)
  if not past or history_at > #text + 1 then
    return nil
  end
  local lengths_end = front.least
  local payload = struct.unpack('<I4', text, lengths_end - 3)
  local bare = string.sub(text, 1, past - payload - 1)
  local history = with_history and string.sub(text, history_at) or ''
  if not may_match(id, bare, history) then
    return false
  end
  return string.sub(bare, 1, RESULT_AT - 1) .. NO_RESULT
    .. string.sub(bare, RESULT_AT + 4, lengths_end - 4) .. NO_LENGTH
    .. string.sub(bare, lengths_end + 1), history
end

local found, reply = chosen(), {}
for i = 1, #found do
  local queue, id, place = found[i][1], found[i][2], found[i][3]
  local text = text_of(queue, id)
  local bare, history
  if text then
    bare, history = shown(id, text)
  end
  if bare == nil then
    local row = row_of(queue, id)
    bare, history = row and slim(row) or '', row and with_history and row.history or ''
  end
  if bare then
    reply[#reply + 1] = { queue, id, bare, place, history }
  end
end
return { now, #found, #found > 0 and found[#found][3] or 0, reply }
