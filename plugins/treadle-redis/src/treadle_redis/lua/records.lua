-- Records: how one is read and written, and the rows that a script has in hand.
--
-- A record is a head of fixed width, all of which a move changes; then what is 0 for most jobs, only
-- if it is not (flag RARE); then the texts whose lengths stand in the head: session, blocked_on, reason;
-- then the rest, which stays as it was stored, and its tail, which no script looks into but for the
-- names it needs (key, unique key, edges, body, payload); then result and history rows, each ended by
-- a newline. The front of a head is the same for all jobs that one step moved alike.
-- INVARIANTS
--   Bytes that are no record become a waiting row whose body they are: bad data is data.

local BLOCKED, WAITING, RUNNING = 0, 1, 2
local NEVER = 9007199254740991
local VERSION = 1
local FRONT = '<BBBBBI4i8i8HHH' -- version, state, flags, priority, rows, attempt, claimed, finished, lengths
local HEAD = FRONT .. 'i8i8i4' -- fence, due, length of the result
local REST = '<i8i8Bi8HHI4I4I4' -- created, number, states that hold the unique key, remember, lengths
local LENGTHS = '<HHI4I4I4' -- the lengths at the end of a rest
local FRONT_BYTES, HEAD_BYTES, REST_BYTES, LENGTHS_BYTES = 31, 51, 41, 16
local LEAST_BYTES = HEAD_BYTES + REST_BYTES
local FENCE_AT, DUE_AT, RESULT_AT, SEQ_IN_REST = 32, 40, 48, 8
local NO_RESULT = '\255\255\255\255'
local SELDOM = '<I4I4i8i8i8i8i8'
local SELDOM_BYTES = 48
local RAW_BYTES = 4096
local CANCEL, FIRST, NOTED, IN_TURN, RARE, PLAIN = 1, 2, 4, 8, 16, 32
-- PLAIN: was looked at when it was started, and has nothing that is seldom, no past, no reason and no
-- concurrency key. Whoever writes a row takes it away.

local rows, raw, dirty = {}, {}, {}

local function has_flag(flags, bit)
  return flags % (bit * 2) >= bit
end

local function garbage(queue, id, text)
  text = string.sub(text, 1, RAW_BYTES)
  return {
    queue = queue, id = id, garbage = true, state = WAITING, prio = 2, cancel = false, first = false,
    noted = false, in_turn = false, umask = 0, rows = 0, attempt = 0, deaths = 0, stalls = 0, fence = 0,
    due = 0, parked = 0, delay = 0, look = 0, expires = 0, claimed = 0, finished = 0, created = 0, seq = 0,
    remember = 0, uperiod = 0, session = '', blocked = '', reason = '', lkey = 0, lukey = 0,
    ledges = 0, lbody = #text, lpayload = 0, tail = text, key = '', result = false, history = '',
  }
end

-- Makes a row of a stored record.
local function parse(queue, id, text)
  if #text < LEAST_BYTES or string.byte(text) ~= VERSION then
    return garbage(queue, id, text)
  end
  local _, state, flags, prio, count, attempt, claimed, finished, lsession, lblocked, lreason, fence, due,
    lresult, at = struct.unpack(HEAD, text)
  local deaths, stalls, parked, delay, look, expires, uperiod = 0, 0, 0, 0, 0, 0, 0
  if has_flag(flags, RARE) then
    if #text < LEAST_BYTES + SELDOM_BYTES then
      return garbage(queue, id, text)
    end
    deaths, stalls, parked, delay, look, expires, uperiod, at = struct.unpack(SELDOM, text, at)
  end
  local rest_at = at + lsession + lblocked + lreason
  if rest_at + REST_BYTES > #text + 1 then
    return garbage(queue, id, text)
  end
  local created, seq, umask, remember, lkey, lukey, ledges, lbody, lpayload, tail_at =
    struct.unpack(REST, text, rest_at)
  local result_at = tail_at + lkey + lukey + ledges + lbody + lpayload
  local history_at = result_at + (lresult > 0 and lresult or 0)
  if history_at > #text + 1 or state > 5 or prio > 3 then
    return garbage(queue, id, text)
  end
  return {
    queue = queue, id = id, state = state, prio = prio, cancel = has_flag(flags, CANCEL),
    first = has_flag(flags, FIRST), noted = has_flag(flags, NOTED),
    in_turn = has_flag(flags, IN_TURN), umask = umask, rows = count,
    attempt = attempt, deaths = deaths, stalls = stalls, fence = fence, due = due, parked = parked,
    delay = delay, look = look, expires = expires, claimed = claimed, finished = finished,
    created = created, seq = seq, remember = remember, uperiod = uperiod,
    session = string.sub(text, at, at + lsession - 1),
    blocked = lblocked > 0 and string.sub(text, at + lsession, at + lsession + lblocked - 1) or '',
    reason = lreason > 0 and string.sub(text, rest_at - lreason, rest_at - 1) or '',
    lkey = lkey, lukey = lukey, ledges = ledges, lbody = lbody, lpayload = lpayload,
    tail = string.sub(text, tail_at, result_at - 1),
    key = lkey > 0 and string.sub(text, tail_at, tail_at + lkey - 1) or '',
    result = lresult >= 0 and string.sub(text, result_at, history_at - 1),
    history = string.sub(text, history_at),
  }
end

-- Returns the bytes of what is 0 for most jobs: '' if all of it is.
local function pack_seldom(deaths, stalls, parked, delay, look, expires, uperiod)
  if deaths == 0 and stalls == 0 and parked == 0 and delay == 0 and look == 0 and expires == 0
    and uperiod == 0 then
    return ''
  end
  return struct.pack(SELDOM, deaths, stalls, parked, delay, look, expires, uperiod)
end

-- Returns the bytes of a row; without its past (result and history) if `bare`.
local function pack(row, bare)
  local seldom = pack_seldom(row.deaths, row.stalls, row.parked, row.delay, row.look, row.expires,
    row.uperiod)
  local flags = (row.cancel and CANCEL or 0) + (row.first and FIRST or 0) + (row.noted and NOTED or 0)
    + (row.in_turn and IN_TURN or 0) + (seldom ~= '' and RARE or 0)
  local result = not bare and row.result
  return struct.pack(HEAD, VERSION, row.state, flags, row.prio, row.rows, row.attempt, row.claimed,
    row.finished, #row.session, #row.blocked, #row.reason, row.fence, row.due, result and #result or -1)
    .. seldom .. row.session .. row.blocked .. row.reason
    .. struct.pack(REST, row.created, row.seq, row.umask, row.remember, row.lkey, row.lukey, row.ledges,
      row.lbody, row.lpayload)
    .. row.tail .. (result or '')
    .. (bare and '' or row.history)
end

-- Returns the bytes of a row without payload and past.
local function slim(row)
  local tail, length = row.tail, row.lpayload
  row.tail, row.lpayload = string.sub(tail, 1, #tail - length), 0
  local packed = pack(row, true)
  row.tail, row.lpayload = tail, length
  return packed
end

local function unique_key(row)
  return string.sub(row.tail, row.lkey + 1, row.lkey + row.lukey)
end

-- Returns the parents that a row still waits for: queue, id, queue, id ...
local function edges(row)
  if row.ledges == 0 then
    return {}
  end
  local at = row.lkey + row.lukey + 1
  return strings(string.sub(row.tail, at, at + row.ledges - 1))
end

local function set_edges(row, text)
  local at = row.lkey + row.lukey
  row.tail = string.sub(row.tail, 1, at) .. text .. string.sub(row.tail, at + row.ledges + 1)
  row.ledges = #text
end

-- Reads many records of a queue at once; `row_of` finds them then.
local function prefetch(queue, ids)
  if #ids == 0 then
    return
  end
  local found = fetch(names(queue).records, ids)
  local of_queue = raw[queue]
  if not of_queue then
    of_queue = {}
    raw[queue] = of_queue
  end
  for i = 1, #ids do
    of_queue[ids[i]] = found[i]
  end
end

-- Returns the row of a job, false if it is not stored.
local function row_of(queue, id)
  local of_queue = rows[queue]
  if not of_queue then
    of_queue = {}
    rows[queue] = of_queue
  end
  local row = of_queue[id]
  if row == nil then
    local text = raw[queue] and raw[queue][id]
    if text == nil then
      text = call('HGET', names(queue).records, id)
    end
    row = text and parse(queue, id, text)
    of_queue[id] = row
  end
  return row
end

-- Returns the bytes of a record that no row was made of yet; the script may work on them directly.
local function text_of(queue, id)
  return not (rows[queue] and rows[queue][id]) and raw[queue] and raw[queue][id]
end

local function set_text(queue, id, text)
  raw[queue][id] = text
  if rows[queue] then
    rows[queue][id] = nil -- it may say that there is none
  end
  push(kept('HSET', names(queue).records), id, text)
end

local fronts = {}

-- Reads the front of a head; jobs that one step moved alike have it in common.
local function front_of(text)
  local bytes = string.sub(text, 1, FRONT_BYTES)
  local front = fronts[bytes]
  if not front and #text < LEAST_BYTES then
    return { least = LEAST_BYTES }
  elseif not front then
    local version, state, flags, prio, count, attempt, claimed, _, lsession, lblocked, lreason =
      struct.unpack(FRONT, bytes)
    local is_rare = has_flag(flags, RARE)
    front = {
      state = version == VERSION and state, prio = prio, rows = count, attempt = attempt,
      claimed = claimed, is_rare = is_rare, is_plain = has_flag(flags, PLAIN),
      in_turn = has_flag(flags, IN_TURN), noted = has_flag(flags, NOTED) and NOTED or 0,
      lsession = lsession, lblocked = lblocked, lreason = lreason,
      at = HEAD_BYTES + 1 + (is_rare and SELDOM_BYTES or 0),
    }
    front.rest_at = front.at + lsession + lblocked + lreason
    front.least = front.rest_at + REST_BYTES - 1
    fronts[bytes] = front
  end
  return front
end

-- Returns where result and history of a record begin, if it has no concurrency key; else false.
local function past_of(text, front)
  if #text < front.least then
    return false
  end
  local lkey, lukey, ledges, lbody, lpayload, at =
    struct.unpack(LENGTHS, text, front.least - LENGTHS_BYTES + 1)
  at = at + lukey + ledges + lbody + lpayload
  return lkey == 0 and at <= #text + 1 and at
end

local fences = {}

-- Returns the fence behind one that is given as bytes: as number, as bytes and as digits.
local function next_fence(bytes)
  local found = fences[bytes]
  if not found then
    local number = struct.unpack('<i8', bytes) + 1
    found = { number = number, bytes = struct.pack('<i8', number), digits = digits(number) }
    fences[bytes] = found
  end
  return found
end

-- Writes a row at the next flush.
local function keep(row)
  dirty[row] = true
  rows[row.queue] = rows[row.queue] or {}
  rows[row.queue][row.id] = row
end

local function flush_rows()
  for row in pairs(dirty) do
    set_field(names(row.queue).records, row.id, pack(row))
  end
  dirty = {}
end

local function flush()
  flush_plain()
  flush_rows()
  flush_sets()
  flush_fields()
  flush_running()
  flush_log()
end

-- Reads anew from now on: what was read may stand otherwise. Nothing may be kept back.
local function forget_reads()
  rows, raw = {}, {}
end

local function is_final(row)
  return row.state > RUNNING
end
