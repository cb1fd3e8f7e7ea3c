-- What becomes of a record by a write whose fence matches, and of the jobs beside it.
--
-- INVARIANTS
--   Nothing is written without the fence. A change that is not final yields to a cancel request.

local apply_all, remove

do

local HISTORY_ROWS = 20
local NOTHING = string.rep('\0', 4)
local held = {}

local function add_history(row, line)
  if line == '' then
    return
  end
  row.history, row.rows = row.history .. line, row.rows + 1
  while row.rows > HISTORY_ROWS do
    row.history = string.sub(row.history, string.find(row.history, '\n', 1, true) + 1)
    row.rows = row.rows - 1
  end
end

-- Gives a waiting row another body.
local function set_body(row, job)
  row.prio, row.umask, row.uperiod, row.remember = job.prio, job.umask, job.uperiod, job.remember
  row.lkey, row.lukey, row.ledges = job.lkey, job.lukey, 0
  row.lbody, row.lpayload, row.key = job.lbody, job.lpayload, job.key
  local at = job.lkey + job.lukey
  row.tail = string.sub(job.tail, 1, at) .. string.sub(job.tail, at + job.ledges + 1)
end

local function ended_meanwhile(row)
  local parents = edges(row)
  for i = 1, #parents, 2 do
    local parent = row_of(parents[i], parents[i + 1])
    if not parent or is_final(parent) then
      return true
    end
  end
  return false
end

local function set_head(row, change, job)
  if job then
    row.expires = instant(job.expiry_kind, job.expires, 0)
    row.timer = nil
  elseif change.fresh then
    row.expires = 0
  end
  local told = change.told
  row.due = told.till or row.due
  row.state, row.fence, row.attempt = told.state, row.fence + 1, told.attempt
  row.deaths, row.stalls, row.parked = told.deaths, told.stalls, told.parked
  row.delay, row.look, row.reason = told.delay, told.look, change.reason
  row.finished = is_final(row) and now or 0
  row.cancel, row.first = false, false
  if row.state ~= BLOCKED then
    row.blocked = ''
  elseif ended_meanwhile(row) then
    row.due = now -- it ended while the decision was made; nobody else would look before `due`
  end
end

-- Stores what a change brings along, each in the same step as its parent.
local function follow_up(texts)
  for i = 3, #texts do
    local job = read_job(texts[i])
    if not standing(job.queue, job.id) and not key_holder(job.queue, job.id, unique_key(job)) then
      insert(job, call('HINCRBY', COUNTERS, 'seq', 1))
    end
  end
end

local function apply_change(row, text, texts_at)
  local change = read_change(text, texts_at)
  local job = change.with_job and read_job(change.extra[2])
  if change.fresh or job then
    local key = unique_key(job or row)
    local holder = key_holder(row.queue, row.id, key)
    if holder then
      return { 'duplicate', standing(row.queue, holder) or { row.queue, holder, '', 1, 0, now } }
    end
    drop_key(row.queue, row.id, unique_key(row))
  end
  local old_edges = (change.with_edges or job) and edges(row)
  move(row, change.event, function()
    if job then
      local kept = row.ledges > 0 and string.sub(row.tail, row.lkey + row.lukey + 1,
        row.lkey + row.lukey + row.ledges) or ''
      set_body(row, job)
      set_edges(row, kept)
    end
    if change.fresh or job then
      take_key(row)
    end
    if change.with_edges then
      set_edges(row, change.extra[1])
      tie(row, old_edges, edges(row))
    end
    add_history(row, change.history)
    row.result = change.result
    set_head(row, change, job)
  end)
  follow_up(change.extra)
  local fence = row.fence
  if is_final(row) and look_at_children(row) then
    return -fence
  end
  return fence
end

-- Drops a final row and all that belongs to it; remembers its id until `till`.
function remove(row, till)
  local n, key = names(row.queue), unique_key(row)
  local taken = key ~= '' and call('HGET', n.unique, key)
  local mask, key_till, at
  if taken then
    mask, key_till, at = struct.unpack('<Bi8', taken)
  end
  if taken and string.sub(taken, at) == row.id and key_till > now then
    till = math.max(till, key_till) -- the key outlives the record: its holder must stay known
  else
    drop_key(row.queue, row.id, key)
    key = ''
  end
  leave(row)
  tie(row, edges(row), {})
  dirty[row], rows[row.queue][row.id] = nil, false
  if raw[row.queue] then
    raw[row.queue][row.id] = false
  end
  set_field(n.records, row.id, false)
  if row.noted then
    set_field(n.progress, row.id, false)
    call('DEL', n.steps .. row.id, n.log .. row.id)
  end
  raise_floor(row.queue, row.fence)
  remember(row, till, key)
end

-- Returns what the plain jobs of a queue have in common that ran and ended alike.
local function ending_of(queue, told, front)
  local of_queue = told.endings[queue]
  if not of_queue then
    of_queue = {}
    told.endings[queue] = of_queue
  end
  local ending = of_queue[front]
  if not ending then
    local n = names(queue)
    ending = {
      finals = kept('ZADD', n.finals), state = kept('ZADD', n.state[told.state]), stories = {},
      head = struct.pack(FRONT, VERSION, told.state, front.noted, front.prio, 1, told.attempt, front.claimed,
        now, front.lsession, 0, 0),
    }
    of_queue[front] = ending
  end
  return ending
end

local function story_of(ending, queue, event, state)
  local found = ending.stories[event]
  if not found then
    found = story(queue, event, state)
    ending.stories[event] = found
  end
  return found
end

-- Returns the list of what leaves the jobs that a session holds.
local function held_by(session)
  local found = held[session]
  if not found then
    found = kept('HDEL', held_key(session))
    held[session] = found
  end
  return found
end

-- Ends a running record without making a row of it, in the plainest and most frequent case: it is its
-- first attempt, nobody waits for it, it holds no slot, and nothing comes along. Returns its fence, or
-- false if the case is another.
local function end_plainly(write, texts_at, queue, id)
  local text, told = text_of(queue, id), told_of(write)
  if not (text and told.is_plain) or may_have_children(queue) then
    return false
  end
  local front, fence = front_of(text), string.sub(text, FENCE_AT, DUE_AT - 1)
  if not front.is_plain or front.state ~= RUNNING or #text < front.least
    or fence ~= string.sub(write, TOLD_FENCE_AT, TOLD_CHANGE_AT - 1)
    or string.sub(write, HISTORY_AT, HISTORY_AT + 3) == NOTHING then
    return false
  end
  local ending, result_at = ending_of(queue, told, front), texts_at + told.levent
  fence = next_fence(fence)
  set_text(queue, id, ending.head .. fence.bytes .. told.till_bytes
    .. string.sub(write, OUTCOME_AT, HISTORY_AT - 1) .. string.sub(text, front.at)
    .. string.sub(write, result_at))
  push_one(held_by(string.sub(text, front.at, front.rest_at - 1)), member(queue, id))
  count_running(queue, -1)
  if told.till < NEVER then
    push(ending.finals, told.till, id)
  end
  push(ending.state, (struct.unpack('<i8', text, front.rest_at + SEQ_IN_REST)), id)
  say(story_of(ending, queue, string.sub(write, texts_at, result_at - 1), told.state), id)
  return fence.number
end

-- Applies a write; answers the fence that stands (negative: children wait), or what stands instead.
local function apply(text, told, queue, id)
  local plainly = told.kind == CHANGED and end_plainly(text, told.texts_at, queue, id)
  if plainly then
    return plainly
  end
  local row, fence = row_of(queue, id), struct.unpack('<i8', text, TOLD_FENCE_AT)
  local fits = row and row.fence == fence
  if fits and told.kind == CHANGED then
    fits = not row.cancel or told_of(text).state > RUNNING
  elseif fits and told.kind == CANCELLED then
    fits = row.state == RUNNING
  elseif fits then
    fits = is_final(row)
  end
  if not fits then
    return { 'conflict', standing(queue, id) or {} }
  end
  if told.kind == CHANGED then
    return apply_change(row, text, told.texts_at)
  elseif told.kind == CANCELLED then
    row.cancel = true
    set_field(held_key(row.session), member(queue, id), digits(row.fence) .. 'c')
    tell(queue, id, 'request_cancel', row.state)
    keep(row)
  else
    tell(queue, id, 'discard', 255)
    remove(row, now + struct.unpack('<i8', text, told.texts_at))
  end
  return row.fence
end

function apply_all(from, to)
  local wanted, told, queues, ids, results = {}, {}, {}, {}, {}
  for i = from, to do
    local queue, id
    told[i], queue, id = read_write(ARGV[i])
    queues[i], ids[i] = queue, id
    local of_queue = wanted[queue]
    if not of_queue then
      of_queue = {}
      wanted[queue] = of_queue
    end
    of_queue[#of_queue + 1] = id
  end
  for queue, of_queue in pairs(wanted) do
    prefetch(queue, of_queue)
  end
  for i = from, to do
    results[i - from + 1] = apply(ARGV[i], told[i], queues[i], ids[i])
  end
  flush()
  return results
end

end
