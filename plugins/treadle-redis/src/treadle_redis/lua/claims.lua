-- Claims: the due jobs of some queues in order, started for a session.
--
-- INVARIANTS
--   A job leaves its line in the same step in which it is running: never pop first, record later.
--   A job whose concurrency key is full leaves the line too, and the search goes on.

local FRONT = '<BBBBBBI4i8' -- of a head: version to fence
local STARTED = '<BBBBBBI4i8i8i8i8' -- of a head: version to finished
local DEATHS_AT = 43

-- Starts a waiting record without making a row of it, if it has no concurrency key. Returns its bytes
-- without the past, or false if the case is another.
local function start_plainly(queue, id, who, prio, session)
  local text = text_of(queue, id)
  if not text or #text < HEAD_BYTES then
    return false
  end
  local version, state, flags, own_prio, umask, count, attempt, fence = struct.unpack(FRONT, text)
  local lsession, lblocked, lreason, lkey, lukey, ledges, lbody, lpayload, lresult, at =
    struct.unpack(LENGTHS, text, LENGTHS_AT)
  local past_at = at + lsession + lblocked + lreason + lukey + ledges + lbody + lpayload
  if version ~= VERSION or state ~= WAITING or own_prio ~= prio or lkey > 0 or past_at > #text + 1
    or struct.unpack('<i8', text, SEQ_AT) ~= struct.unpack('>I8', who) then
    return false
  end
  local n = names(queue)
  local started = struct.pack(STARTED, VERSION, RUNNING, flags >= NOTED and NOTED or 0, prio, umask,
      count, attempt + 1, fence + 1, now, now, 0)
    .. string.sub(text, DEATHS_AT, LENGTHS_AT - 1) .. struct.pack('<HH', #session, 0)
    .. string.sub(text, LENGTHS_AT + 4, HEAD_BYTES) .. session
    .. string.sub(text, at + lsession + lblocked)
  set_text(queue, id, started)
  append('ZREM', n.line[prio], who)
  append('ZREM', n.state[WAITING], id)
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

-- Puts bytes that are no record where the line says that they stand.
local function adopt(row, prio, who)
  row.prio, row.seq, row.fence = prio, struct.unpack('>I8', who), floor_of(row.queue)
  row.line = who
end

local function take(queue, prio, found, session, taken)
  if #found == 0 then
    return
  end
  local line, ids = names(queue).line[prio], {}
  for i = 1, #found do
    ids[i] = string.sub(found[i], 9)
  end
  prefetch(queue, ids)
  for i = 1, #found do
    local text = start_plainly(queue, ids[i], found[i], prio, session)
    local row = not text and row_of(queue, ids[i])
    if row and row.garbage then
      adopt(row, prio, found[i])
    end
    if text then
      taken[#taken + 1] = { queue, ids[i], text }
    elseif not row or row.state ~= WAITING or row.prio ~= prio or line_member(row) ~= found[i] then
      put(line, found[i], false) -- a foreign entry: no record stands behind it
    elseif row.key ~= '' and not has_room(row.key) then
      block(row)
    else
      start(row, session)
      taken[#taken + 1] = { queue, ids[i], pack(row, true) }
    end
  end
  flush()
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
          local found = call('ZRANGEBYSCORE', names(queue).line[prio], '-inf', now, 'LIMIT', 0, wanted)
          take(queue, prio, found, session, taken)
          wanted = #found == wanted and limit - #taken or 0
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
        local found = call('ZRANGE', names(queue).line[prio], 0, 0, 'WITHSCORES')
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
