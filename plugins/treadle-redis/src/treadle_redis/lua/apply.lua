-- Writes: what becomes of a record whose fence matches, and of the jobs beside it.
--
-- A write is: kind, lengths and texts of queue and id; a change goes on with its fields.
-- INVARIANTS
--   Nothing is written without the fence. A change that is not final yields to a cancel request.

local WRITE = '<BHHi8'
local CHANGE = '<BBBI4I4I4i8i8i8i8BHI4i4I4'
local CHANGED, CANCELLED, REMOVED = 0, 1, 2
local FRESH, WITH_EDGES, WITH_JOB = 1, 2, 4
local HISTORY_ROWS = 20
local PLAIN = '<BBBBBBI4i8i8i8' -- the front of a head: version to claimed
local ENDED = '<BBBBBBI4i8i8i8i8' -- the front of a head: version to finished

-- Reads the bytes of a write up to its fence.
local function read_write(text)
  local kind, lqueue, lid, fence, at = struct.unpack(WRITE, text)
  local from = at + lqueue + lid
  return {
    kind = kind, fence = fence, queue = string.sub(text, at, at + lqueue - 1),
    id = string.sub(text, at + lqueue, from - 1), text = text, at = from,
  }
end

-- Reads the rest of a change.
local function read_change(write)
  local text = write.text
  local state, due_kind, flags, attempt, deaths, stalls, due, parked, delay, look, levent, lreason,
    lhistory, lresult, lextra, at = struct.unpack(CHANGE, text, write.at)
  local reason_at = at + levent
  local history_at = reason_at + lreason
  local result_at = history_at + lhistory
  local extra_at = result_at + (lresult > 0 and lresult or 0)
  return {
    state = state, due_kind = due_kind, attempt = attempt, deaths = deaths, stalls = stalls,
    due = due, parked = parked, delay = delay, look = look,
    event = string.sub(text, at, reason_at - 1), reason = string.sub(text, reason_at, history_at - 1),
    history = string.sub(text, history_at, result_at - 1),
    result = lresult >= 0 and string.sub(text, result_at, extra_at - 1),
    fresh = has_flag(flags, FRESH), with_edges = has_flag(flags, WITH_EDGES),
    with_job = has_flag(flags, WITH_JOB),
    extra = lextra > 0 and strings(string.sub(text, extra_at)) or {},
  }
end

local function add_history(row, line)
  if line == '' then
    return
  end
  row.history, row.rows = row.history .. line .. '\n', row.rows + 1
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
  row.due = instant(change.due_kind, change.due, row.due)
  row.state, row.fence, row.attempt = change.state, row.fence + 1, change.attempt
  row.deaths, row.stalls, row.parked = change.deaths, change.stalls, change.parked
  row.delay, row.look, row.reason = change.delay, change.look, change.reason
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

local function apply_change(row, write)
  local change = read_change(write)
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
local function remove(row, till)
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

-- Ends a running record without making a row of it, in the plainest and most frequent case: nobody
-- waits for it, it holds no slot, and nothing comes along. Returns false if the case is another.
local function end_plainly(write, text)
  if #text < HEAD_BYTES or may_have_children(write.queue) then
    return false
  end
  local version, state, flags, prio, umask, count, _, fence, due, claimed = struct.unpack(PLAIN, text)
  local lsession, lblocked, lreason, lkey, lukey, ledges, lbody, lpayload, lresult, at =
    struct.unpack(LENGTHS, text, LENGTHS_AT)
  local expires, uperiod = 0, 0
  if has_flag(flags, RARE) then
    _, _, _, _, _, expires, uperiod, at = struct.unpack(SELDOM, text, at)
  end
  local to, due_kind, change_flags, attempt, deaths, stalls, new_due, parked, delay, look, levent,
    lnew_reason, lhistory, lnew_result, lextra, from = struct.unpack(CHANGE, write.text, write.at)
  if version ~= VERSION or state ~= RUNNING or to <= RUNNING or fence ~= write.fence or lkey > 0
    or lblocked > 0 or change_flags > 0 or lextra > 0 or count >= HISTORY_ROWS then
    return false
  end
  local queue, id, n = write.queue, write.id, names(write.queue)
  local session = string.sub(text, at, at + lsession - 1)
  local tail_at = at + lsession + lreason
  local result_at = tail_at + lukey + ledges + lbody + lpayload
  local history_at = result_at + (lresult > 0 and lresult or 0)
  local reason_at = from + levent
  local line_at = reason_at + lnew_reason
  local line_end = line_at + lhistory
  local seldom = pack_seldom(deaths, stalls, parked, delay, look, expires, uperiod)
  local new_flags = (has_flag(flags, NOTED) and NOTED or 0) + (seldom ~= '' and RARE or 0)
  due = instant(due_kind, new_due, due)
  set_text(queue, id, struct.pack(ENDED, VERSION, to, new_flags, prio, umask,
      lhistory > 0 and count + 1 or count, attempt, fence + 1, due, claimed, now)
    .. string.sub(text, CREATED_AT, LENGTHS_AT - 1) .. struct.pack('<HHH', lsession, 0, lnew_reason)
    .. string.sub(text, LENGTHS_AT + 6, HEAD_BYTES - 4) .. struct.pack('<i4', lnew_result)
    .. seldom .. session .. string.sub(write.text, reason_at, line_at - 1)
    .. string.sub(text, tail_at, result_at - 1) .. string.sub(write.text, line_end)
    .. string.sub(text, history_at) .. string.sub(write.text, line_at, line_end - 1)
    .. (lhistory > 0 and '\n' or ''))
  append('HDEL', held_key(session), member(queue, id))
  count_running(queue, -1)
  if due < NEVER then
    append('ZADD', n.finals, due, id)
  end
  append('ZADD', n.state[to], (struct.unpack('<i8', text, SEQ_AT)), id)
  tell(queue, id, string.sub(write.text, from, reason_at - 1), to)
  return fence + 1
end

-- Applies a write; answers the fence that stands (negative: children wait), or what stands instead.
local function apply(write)
  local text = write.kind == CHANGED and text_of(write.queue, write.id)
  local plainly = text and end_plainly(write, text)
  if plainly then
    return plainly
  end
  local row = row_of(write.queue, write.id)
  local fits = row and row.fence == write.fence
  if fits and write.kind == CHANGED then
    local state = struct.unpack('<B', write.text, write.at)
    fits = not row.cancel or state > RUNNING
  elseif fits and write.kind == CANCELLED then
    fits = row.state == RUNNING
  elseif fits then
    fits = is_final(row)
  end
  if not fits then
    return { 'conflict', standing(write.queue, write.id) or {} }
  end
  if write.kind == CHANGED then
    return apply_change(row, write)
  elseif write.kind == CANCELLED then
    row.cancel = true
    set_field(held_key(row.session), member(row.queue, row.id), row.fence .. 'c')
    tell(row.queue, row.id, 'request_cancel', row.state)
    keep(row)
  else
    tell(row.queue, row.id, 'discard', 255)
    remove(row, now + struct.unpack('<i8', write.text, write.at))
  end
  return row.fence
end

local function apply_all(from, to)
  local wanted, writes, results = {}, {}, {}
  for i = from, to do
    local write = read_write(ARGV[i])
    writes[#writes + 1] = write
    wanted[write.queue] = wanted[write.queue] or {}
    table.insert(wanted[write.queue], write.id)
  end
  for queue, ids in pairs(wanted) do
    prefetch(queue, ids)
  end
  for i = 1, #writes do
    results[i] = apply(writes[i])
  end
  flush()
  return results
end
