-- Storing jobs: what is known already, unique keys, parents, limits, and a fence nobody ever had.
--
-- INVARIANTS
--   The first fence of a record is greater than every fence that its queue ever forgot.
--   A unique key is taken over only from a job that no longer holds it.

local name_of_job, read_job, instant, prefetch_memories, memory_of, remember, forget, standing,
  key_holder, take_key, drop_key, floor_of, raise_floor, insert, insert_plainly, objection
local KEEP = 2 -- beside AFTER and AT: as it stands

do

local JOB = '<HHBBBBi8i8i8'
local JOB_BYTES = 32
local STORED = '<Bi8HHI4I4I4' -- what is sent of the rest of a record: what stands behind its number
local TOO_LARGE, PLAIN_JOB = 1, 2
local AFTER, AT = 0, 1
local MEMORY = '<Bi8i8'
local floors, limits_of_queues, memories, kinds = {}, {}, {}, {}

-- A job that shall be stored is: lengths of queue and id, what is said of its due time and its end,
-- flags, priority; queue, id; then its record from behind its number to its end.

function name_of_job(text)
  local lqueue, lid = struct.unpack('<HH', text)
  local id_at = JOB_BYTES + 1 + lqueue
  return string.sub(text, JOB_BYTES + 1, id_at - 1), string.sub(text, id_at, id_at + lid - 1)
end

-- Reads the bytes of a job that shall be stored.
function read_job(text)
  local lqueue, lid, due_kind, expiry_kind, flags, prio, due, expires, uperiod, at =
    struct.unpack(JOB, text)
  local id_at, rest_at = at + lqueue, at + lqueue + lid
  local umask, remember, lkey, lukey, ledges, lbody, lpayload, tail_at =
    struct.unpack(STORED, text, rest_at)
  return {
    prio = prio, due_kind = due_kind, expiry_kind = expiry_kind, umask = umask,
    too_large = has_flag(flags, TOO_LARGE), due = due, expires = expires, uperiod = uperiod,
    remember = remember, lkey = lkey, lukey = lukey, ledges = ledges, lbody = lbody,
    lpayload = lpayload, queue = string.sub(text, at, id_at - 1),
    id = string.sub(text, id_at, rest_at - 1), tail = string.sub(text, tail_at),
    key = lkey > 0 and string.sub(text, tail_at, tail_at + lkey - 1) or '',
  }
end

function instant(kind, ms, current)
  if kind == AFTER then
    return now + ms
  end
  return kind == AT and ms or current
end

local function read_memory(text)
  local state, fence, till, at = struct.unpack(MEMORY, text)
  return { state = state, fence = fence, till = till, ukey = string.sub(text, at) }
end

-- Reads what is remembered of many ids of a queue at once.
function prefetch_memories(queue, ids)
  local of_queue, found = {}, fetch(names(queue).memories, ids)
  for i = 1, #ids do
    of_queue[ids[i]] = found[i] and read_memory(found[i])
  end
  memories[queue] = of_queue
end

function memory_of(queue, id)
  local of_queue = memories[queue]
  if not of_queue then
    of_queue = {}
    memories[queue] = of_queue
  end
  local memory = of_queue[id]
  if memory == nil then
    local text = call('HGET', names(queue).memories, id)
    memory = text and read_memory(text)
    of_queue[id] = memory
  end
  return memory
end

-- Remembers a job that goes: its state, its fence, and the unique key that it still holds.
function remember(row, till, key)
  local text = struct.pack(MEMORY, row.state, row.fence, till) .. key
  memories[row.queue] = memories[row.queue] or {}
  memories[row.queue][row.id] = read_memory(text)
  set_field(names(row.queue).memories, row.id, text)
  put(names(row.queue).forget, row.id, till)
end

function forget(queue, id)
  memories[queue] = memories[queue] or {}
  memories[queue][id] = false
  set_field(names(queue).memories, id, false)
  put(names(queue).forget, id, false)
end

-- Returns all that is known of a job, as a reply: its record, what is remembered of it, or false.
function standing(queue, id)
  local row = row_of(queue, id)
  if row then
    return { queue, id, pack(row) }
  end
  local memory = memory_of(queue, id)
  if memory and memory.till > now then
    return { queue, id, '', memory.state, memory.fence, memory.till }
  end
  return false
end

-- Returns the id of the other job that holds a unique key.
function key_holder(queue, id, key)
  if key == '' then
    return false
  end
  local taken = call('HGET', names(queue).unique, key)
  if not taken then
    return false
  end
  local mask, till, at = struct.unpack('<Bi8', taken)
  local holder = string.sub(taken, at)
  if holder == id then
    return false
  end
  local row = row_of(queue, holder)
  if till > now or (row and has_flag(mask, 2 ^ row.state)) then
    return holder
  end
  return false
end

function take_key(row)
  if row.lukey > 0 then
    local till = row.uperiod > 0 and now + row.uperiod or 0
    local taken = struct.pack('<Bi8', row.umask, till) .. row.id
    call('HSET', names(row.queue).unique, unique_key(row), taken)
  end
end

-- Releases a unique key, if this job is who took it.
function drop_key(queue, id, key)
  if key == '' then
    return
  end
  local taken = call('HGET', names(queue).unique, key)
  if taken and string.sub(taken, 10) == id then
    call('HDEL', names(queue).unique, key)
  end
end

function floor_of(queue)
  local floor = floors[queue]
  if not floor then
    floor = tonumber(call('HGET', names(queue).numbers, 'floor') or '0')
    floors[queue] = floor
  end
  return floor
end

-- Remembers that a fence of this queue is gone for good.
function raise_floor(queue, fence)
  if fence > floor_of(queue) then
    floors[queue], kinds[queue] = fence, nil
    set_field(names(queue).numbers, 'floor', tostring(fence))
  end
end

local function queue_limit(queue)
  local limit = limits_of_queues[queue]
  if limit == nil then
    limit = tonumber(call('HGET', names(queue).numbers, 'limit') or '') or false
    limits_of_queues[queue] = limit
  end
  return limit
end

-- Stores a job whose id and unique key are free.
function insert(job, seq)
  local queue, id = job.queue, job.id
  know_queue(queue)
  local memory = memory_of(queue, id)
  if memory then
    raise_floor(queue, memory.fence)
    drop_key(queue, id, memory.ukey)
    forget(queue, id)
  end
  local blocked = job.ledges > 0
  local row = {
    queue = queue, id = id, state = blocked and BLOCKED or WAITING, prio = job.prio, cancel = false,
    first = false, noted = false, in_turn = not blocked and job.due_kind == AFTER and job.due == 0,
    umask = job.umask, rows = 0, attempt = 0, deaths = 0, stalls = 0,
    fence = floor_of(queue) + 1, due = blocked and now or instant(job.due_kind, job.due), parked = 0,
    delay = 0, look = 0, expires = instant(job.expiry_kind, job.expires, 0), claimed = 0,
    finished = 0, created = now, seq = seq, remember = job.remember, uperiod = job.uperiod,
    session = '', blocked = '', reason = '', lkey = job.lkey, lukey = job.lukey,
    ledges = job.ledges, lbody = job.lbody, lpayload = job.lpayload, tail = job.tail, key = job.key,
    result = false, history = '',
  }
  take_key(row)
  if blocked then
    tie(row, {}, edges(row))
  end
  enter(row, 'enqueue')
  return row.fence
end

-- Returns what the jobs of a queue have in common that are told in the same words, if they are the
-- plainest and most frequent: no parents, no unique key, no end, and no limit of their queue; else false.
local function kind_of(queue, told)
  local of_queue = kinds[queue]
  if not of_queue then
    of_queue = {}
    kinds[queue] = of_queue
  end
  local kind = of_queue[told]
  if kind == nil then
    local _, _, due_kind, _, flags, prio, due = struct.unpack(JOB, told)
    kind = false
    if flags == PLAIN_JOB and not queue_limit(queue) then
      local n, in_turn, fence = names(queue), due_kind == AFTER and due == 0, floor_of(queue) + 1
      due = instant(due_kind, due)
      kind = {
        fence = fence, due = due, line = in_turn and kept('ZADD', n.turns[prio]),
        timers = kept('ZADD', n.timers[prio]), waiting = kept('ZADD', n.state[WAITING]),
        story = story(queue, 'enqueue', WAITING),
        begin = struct.pack(HEAD, VERSION, WAITING, in_turn and IN_TURN or 0, prio, 0, 0, 0, 0, 0, 0, 0,
          fence, due, -1) .. struct.pack('<i8', now),
      }
    end
    of_queue[told] = kind
  end
  return kind
end

-- Stores a new job of a plain kind without making a row of it. Returns its fence, or false.
function insert_plainly(text, queue, id, seq)
  if raw[queue][id] or memories[queue][id] or (rows[queue] and rows[queue][id]) then
    return false
  end
  local kind = kind_of(queue, string.sub(text, 1, JOB_BYTES))
  if not kind then
    return false
  end
  know_queue(queue)
  set_text(queue, id, kind.begin .. struct.pack('<i8', seq)
    .. string.sub(text, JOB_BYTES + 1 + #queue + #id))
  if kind.line then
    push(kind.line, seq, id)
  else
    push(kind.timers, kind.due, struct.pack('>I8', seq) .. id)
    push(kind.waiting, seq, id)
  end
  bells[queue] = true
  say(kind.story, id)
  return kind.fence
end

-- Answers {'parent', queue, id} for a parent that is unknown, else false.
local function unknown_parent(job)
  if job.ledges == 0 then
    return false
  end
  local parents = edges(job)
  for i = 1, #parents, 2 do
    if not standing(parents[i], parents[i + 1]) then
      return { 'parent', parents[i], parents[i + 1] }
    end
  end
  return false
end

-- Answers why a job cannot be stored; what is stored already comes before every limit.
function objection(job)
  local known = standing(job.queue, job.id)
  if known then
    return { 'duplicate', known }
  elseif job.too_large then
    return { 'large' }
  end
  local parent = unknown_parent(job)
  if parent then
    return parent
  end
  local holder = key_holder(job.queue, job.id, unique_key(job))
  if holder then
    return { 'duplicate', standing(job.queue, holder) or { job.queue, holder, '', 1, 0, now } }
  end
  local limit = queue_limit(job.queue)
  if limit then
    flush()
    local waiting = waiting_of(job.queue)
    if waiting >= limit then
      return { 'full', waiting, limit }
    end
  end
  return false
end

end
