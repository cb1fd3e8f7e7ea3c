-- Claims: the due jobs of some queues in order, started for a session.
--
-- INVARIANTS
--   A job leaves its place in the same step in which it is running: never pop first, record later.
--   A job whose concurrency key is full leaves its place too, and the search goes on.

local FRONT = '<BBBBBBI4i8' -- of a head: version to fence
local STARTED = '<BBBBBBI4i8i8i8i8' -- of a head: version to finished

-- Starts a waiting record without making a row of it, if it has no concurrency key. Returns its bytes
-- without the past, or false if the case is another.
local function start_plainly(queue, place, prio, session)
  local id = place.id
  local text = text_of(queue, id)
  if not text or #text < HEAD_BYTES then
    return false
  end
  local version, state, flags, own_prio, umask, count, attempt, fence = struct.unpack(FRONT, text)
  local lsession, lblocked, lreason, lkey, lukey, ledges, lbody, lpayload, lresult, at =
    struct.unpack(LENGTHS, text, LENGTHS_AT)
  local is_rare = has_flag(flags, RARE)
  at = is_rare and at + SELDOM_BYTES or at
  local past_at = at + lsession + lblocked + lreason + lukey + ledges + lbody + lpayload
  if version ~= VERSION or state ~= WAITING or own_prio ~= prio or lkey > 0 or past_at > #text + 1
    or has_flag(flags, IN_TURN) == (place.timer ~= nil)
    or struct.unpack('<i8', text, SEQ_AT) ~= place.seq then
    return false
  end
  local n = names(queue)
  local new_flags = (has_flag(flags, NOTED) and NOTED or 0) + (is_rare and RARE or 0)
  local started = struct.pack(STARTED, VERSION, RUNNING, new_flags, prio, umask, count, attempt + 1,
      fence + 1, now, now, 0)
    .. string.sub(text, CREATED_AT, LENGTHS_AT - 1) .. struct.pack('<HH', #session, 0)
    .. string.sub(text, LENGTHS_AT + 4, at - 1) .. session
    .. string.sub(text, at + lsession + lblocked)
  set_text(queue, id, started)
  if place.timer then
    append('ZREM', n.timers[prio], place.timer)
    append('ZREM', n.state[WAITING], id)
  else
    append('ZREM', n.turns[prio], id)
  end
  append('HSET', held_key(session), member(queue, id), tostring(fence + 1))
  count_running(queue, 1)
  tell(queue, id, 'claim', RUNNING)
  if count > 0 or lresult >= 0 then
    return string.sub(started, 1, past_at - 1 + #session - lsession - lblocked)
  end
  return started
end

local function start(row, session)
  leave(row)
  row.state, row.fence, row.due, row.attempt = RUNNING, row.fence + 1, now, row.attempt + 1
  row.claimed, row.session, row.finished = now, session, 0
  row.cancel, row.blocked, row.first = false, '', false
  enter(row, 'claim')
end

local function block(row)
  leave(row)
  row.look = math.min(math.max(row.look * 2, 1000), 60000)
  row.state, row.fence, row.due = BLOCKED, row.fence + 1, now + row.look
  row.finished, row.cancel, row.blocked, row.first = 0, false, row.key, false
  enter(row, 'block')
end

-- Puts bytes that are no record where an index says that they stand.
local function adopt(row, prio, place)
  row.prio, row.seq, row.fence = prio, place.seq, floor_of(row.queue)
  row.timer, row.in_turn = place.timer, not place.timer
end

local function stands_at(row, prio, place)
  return row.state == WAITING and row.prio == prio and row.in_turn == not place.timer
    and (row.in_turn or timer_member(row) == place.timer)
end

local function take(queue, prio, places, session, taken)
  local n = names(queue)
  for _, place in ipairs(places) do
    local text = start_plainly(queue, place, prio, session)
    local row = not text and row_of(queue, place.id)
    if row and row.garbage then
      adopt(row, prio, place)
    end
    if text then
      taken[#taken + 1] = { queue, place.id, text }
    elseif not row or not stands_at(row, prio, place) then -- a foreign entry: no record is behind it
      put(place.timer and n.timers[prio] or n.turns[prio], place.timer or place.id, false)
    elseif row.key ~= '' and not has_room(row.key) then
      block(row)
    else
      start(row, session)
      taken[#taken + 1] = { queue, place.id, pack(row, true) }
    end
  end
  flush()
end

-- Returns the first places among the timers that are due.
local function due_timers(queue, prio, count)
  local places = {}
  local found = call('ZRANGEBYSCORE', names(queue).timers[prio], '-inf', now, 'WITHSCORES', 'LIMIT', 0,
    count)
  for i = 1, #found, 2 do
    local who = found[i]
    places[#places + 1] = {
      id = string.sub(who, 9), seq = #who >= 8 and struct.unpack('>I8', who) or 0, timer = who,
      due = tonumber(found[i + 1]),
    }
  end
  return places
end

-- Returns the first places of those that came to run at once.
local function in_turn(queue, prio, count)
  local places, found = {}, call('ZRANGE', names(queue).turns[prio], 0, count - 1, 'WITHSCORES')
  for i = 1, #found, 2 do
    places[#places + 1] = { id = found[i], seq = tonumber(found[i + 1]) }
  end
  return places
end

local function due_of(queue, place)
  local text = text_of(queue, place.id)
  return text and #text >= HEAD_BYTES and struct.unpack('<i8', text, DUE_AT) or 0
end

-- Brings timers that are due, and those in turn, into the order of their due times.
local function merged(queue, timers, turns, count)
  local places, at_timer, at_turn = {}, 1, 1
  while #places < count and (timers[at_timer] or turns[at_turn]) do
    local timer, turn = timers[at_timer], turns[at_turn]
    if timer and (not turn or timer.due <= due_of(queue, turn)) then
      places[#places + 1], at_timer = timer, at_timer + 1
    else
      places[#places + 1], at_turn = turn, at_turn + 1
    end
  end
  return places
end

-- Returns the first places of a queue and priority, with their records read.
local function first_places(queue, prio, count)
  local timers, turns, ids = due_timers(queue, prio, count), in_turn(queue, prio, count), {}
  for _, places in ipairs({ timers, turns }) do
    for _, place in ipairs(places) do
      ids[#ids + 1] = place.id
    end
  end
  prefetch(queue, ids)
  if #timers == 0 or #turns == 0 then
    return #timers == 0 and turns or timers
  end
  return merged(queue, timers, turns, count)
end

local paused = {}

local function is_paused(queue)
  if paused[queue] == nil then
    paused[queue] = call('HGET', names(queue).numbers, 'paused') == '1'
  end
  return paused[queue]
end

-- Starts up to `limit` jobs: queues as listed, then priority, then due time, then as enqueued.
local function claim(session, queues, limit)
  local taken = {}
  for _, queue in ipairs(queues) do
    if #taken < limit and not is_paused(queue) then
      for prio = 0, 3 do
        local wanted = limit - #taken
        while wanted > 0 do
          local places = first_places(queue, prio, wanted)
          if #places > 0 then
            take(queue, prio, places, session, taken)
          end
          wanted = #places == wanted and limit - #taken or 0
        end
      end
    end
  end
  return taken
end

-- Returns an instant at which a claim may find something: one that is over if there is any, else the
-- first that comes; -1 if nothing waits.
local function next_due(queues)
  local first = -1
  for _, queue in ipairs(queues) do
    if not is_paused(queue) then
      for prio = 0, 3 do
        if call('ZCARD', names(queue).turns[prio]) > 0 then
          return now
        end
        local found = call('ZRANGE', names(queue).timers[prio], 0, 0, 'WITHSCORES')
        local due = found[2] and tonumber(found[2])
        if due and due <= now then
          return math.max(due, 0)
        elseif due and (first < 0 or due < first) then
          first = due
        end
      end
    end
  end
  return first
end

-- Returns what a worker needs of each row: queue, id, bytes without the past; flat.
local function shown(taken)
  local reply = {}
  for i = 1, #taken do
    local one = taken[i]
    reply[3 * i - 2], reply[3 * i - 1], reply[3 * i] = one[1], one[2], one[3]
  end
  return reply
end
