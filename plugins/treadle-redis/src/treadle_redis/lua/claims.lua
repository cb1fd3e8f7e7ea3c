-- Claims: the due jobs of some queues in order, started for a session.
--
-- INVARIANTS
--   A job leaves its place in the same step in which it is running: never pop first, record later.
--   A job whose concurrency key is full leaves its place too, and the search goes on.

local claim, next_due

do

local FEW, LONG = 64, string.rep(' ', 65)
local NOW = struct.pack('<i8', now)

-- Returns how the head begins of jobs that stood alike, once a session has started them.
local function started_front(front, session, is_plain)
  local started = is_plain and front.started_plain or front.started
  if not started then
    started = struct.pack(FRONT, VERSION, RUNNING, front.noted + (front.is_rare and RARE or 0)
      + (is_plain and PLAIN or 0), front.prio, front.rows, front.attempt + 1, now, 0, #session, 0,
      front.lreason)
    front[is_plain and 'started_plain' or 'started'] = started
  end
  return started
end

-- Starts a waiting record without making a row of it, if it has no concurrency key; `timer` is its place
-- among the timers, false if it stands in turn. Returns its bytes, the same without the past, and its
-- fence, or false if the case is another.
local function start_plainly(text, prio, timer, session)
  if not text then
    return false
  end
  local front = front_of(text)
  local past_at, rest_at = past_of(text, front), front.rest_at
  if not past_at or front.state ~= WAITING or front.prio ~= prio or front.in_turn == (timer ~= false)
    or timer and string.reverse(string.sub(timer, 1, 8)) ~= string.sub(text, rest_at + 8, rest_at + 15) then
    return false
  end
  local fence = next_fence(string.sub(text, FENCE_AT, DUE_AT - 1))
  local result = string.sub(text, RESULT_AT, HEAD_BYTES)
  if front.rows == 0 and not front.is_rare and front.lreason == 0 and result == NO_RESULT then
    local started = started_front(front, session, true) .. fence.bytes .. NOW .. NO_RESULT .. session
      .. string.sub(text, rest_at)
    return started, started, fence
  end
  local started = started_front(front, session, false) .. fence.bytes .. NOW
    .. string.sub(text, RESULT_AT, front.at - 1) .. session .. string.sub(text, rest_at - front.lreason)
  past_at = past_at + #session - front.lsession - front.lblocked
  return started, string.sub(started, 1, past_at - 1), fence
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
local function adopt(row, prio, timer)
  row.prio, row.fence = prio, floor_of(row.queue)
  row.timer, row.in_turn = timer, not timer
  if timer then
    row.seq = #timer >= 8 and struct.unpack('>I8', timer) or 0
  else
    row.seq = tonumber(call('ZSCORE', names(row.queue).turns[prio], row.id) or '0')
  end
end

local function stands_at(row, prio, timer)
  return row.state == WAITING and row.prio == prio and row.in_turn == not timer
    and (row.in_turn or timer_member(row) == timer)
end

-- Starts a job by way of a row. Returns its bytes without the past, or false if it is not to be started.
local function start_any(queue, id, prio, timer, session)
  local row = row_of(queue, id)
  if row and row.garbage then
    adopt(row, prio, timer)
  end
  if not row or not stands_at(row, prio, timer) then -- a foreign entry: no record is behind it
    local n = names(queue)
    put(timer and n.timers[prio] or n.turns[prio], timer or id, false)
  elseif row.key ~= '' and not has_room(row.key) then
    block(row)
  else
    start(row, session)
    return pack(row, true)
  end
  return false
end

-- Writes what was kept back. A small hash is a list that each write searches from its beginning: what
-- a session holds is made a real one as soon as it is many. (A long value has that effect, for good.)
local function flush_claims(session, held)
  local key, added = held_key(session), held.n / 2
  local size = added > 0 and call('HLEN', key) or 0
  local grows = size <= FEW and size + added > FEW
  if grows then
    push(held, '', LONG)
  end
  flush()
  if grows then
    call('HDEL', key, '')
  end
end

-- Starts the jobs that stand at some places: ids, their records, and the timers among them.
local function take(queue, prio, places, session, taken)
  local n, ids, texts, timers = names(queue), places.ids, places.texts, places.timers
  local records, held = kept('HSET', n.records), kept('HSET', held_key(session))
  local in_turn, timed, waiting = kept('ZREM', n.turns[prio]), kept('ZREM', n.timers[prio]),
    kept('ZREM', n.state[WAITING])
  local begin, plain_ones = story(queue, 'claim', RUNNING), 0
  for i = 1, #ids do
    local id, timer = ids[i], timers[i] or false
    local started, shown, fence = start_plainly(texts[i], prio, timer, session)
    if started then
      push(records, id, started)
      push(held, member(queue, id), fence.digits)
      if timer then
        push_one(timed, timer)
        push_one(waiting, id)
      else
        push_one(in_turn, id)
      end
      say(begin, id)
      plain_ones = plain_ones + 1
    else
      shown = start_any(queue, id, prio, timer, session)
    end
    if shown then
      local at = 3 * taken.count
      taken[at + 1], taken[at + 2], taken[at + 3] = queue, id, shown
      taken.count = taken.count + 1
    end
  end
  count_running(queue, plain_ones)
  flush_claims(session, held)
end

-- Returns the first places among the timers that are due: ids, due times, and the timers.
local function due_timers(queue, prio, count)
  local ids, due, timers = {}, {}, {}
  local found = call('ZRANGEBYSCORE', names(queue).timers[prio], '-inf', now, 'WITHSCORES', 'LIMIT', 0,
    count)
  for i = 1, #found, 2 do
    local at = #ids + 1
    ids[at], due[at], timers[at] = string.sub(found[i], 9), tonumber(found[i + 1]), found[i]
  end
  return ids, due, timers
end

local function due_of(text)
  return text and #text >= LEAST_BYTES and struct.unpack('<i8', text, DUE_AT) or 0
end

-- Brings timers that are due, and those in turn, into the order of their due times.
local function merged(queue, timed, due, timers, turns, count)
  local places, at_timer, at_turn = { ids = {}, texts = {}, timers = {} }, 1, 1
  local timed_texts, turn_texts = fetch(names(queue).records, timed), fetch(names(queue).records, turns)
  for at = 1, math.min(#timed + #turns, count) do
    local id = turns[at_turn]
    if timed[at_timer] and (not id or due[at_timer] <= due_of(turn_texts[at_turn])) then
      places.ids[at], places.texts[at] = timed[at_timer], timed_texts[at_timer]
      places.timers[at], at_timer = timers[at_timer], at_timer + 1
    else
      places.ids[at], places.texts[at], places.timers[at] = id, turn_texts[at_turn], false
      at_turn = at_turn + 1
    end
  end
  return places
end

-- Returns the first places of a queue and priority, with their records read.
local function first_places(queue, prio, count)
  local timed, due, timers = due_timers(queue, prio, count)
  local turns = call('ZRANGE', names(queue).turns[prio], 0, count - 1)
  if #timed > 0 and #turns > 0 then
    return merged(queue, timed, due, timers, turns, count)
  end
  local ids = #timed > 0 and timed or turns
  return { ids = ids, texts = #ids > 0 and fetch(names(queue).records, ids) or {}, timers = timers }
end

local paused = {}

local function is_paused(queue)
  if paused[queue] == nil then
    paused[queue] = call('HGET', names(queue).numbers, 'paused') == '1'
  end
  return paused[queue]
end

-- Starts up to `limit` jobs: queues as listed, then priority, then due time, then as enqueued. Returns
-- what a worker needs of each, flat: queue, id, bytes without the past; and how many there are.
function claim(session, queues, limit)
  local taken = { count = 0 }
  forget_reads()
  for _, queue in ipairs(queues) do
    if taken.count < limit and not is_paused(queue) then
      for prio = 0, 3 do
        local wanted = limit - taken.count
        while wanted > 0 do
          local places = first_places(queue, prio, wanted)
          local found = #places.ids
          if found > 0 then
            take(queue, prio, places, session, taken)
          end
          wanted = found == wanted and limit - taken.count or 0
        end
      end
    end
  end
  return taken
end

-- Returns an instant at which a claim may find something: one that is over if there is any, else the
-- first that comes; -1 if nothing waits.
function next_due(queues)
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

end
