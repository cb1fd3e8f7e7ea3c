-- Sessions: who works, who took over from whom.
--
-- A session is: lease, expires, opened, ended (0 = not), taken, name, info.
-- INVARIANTS
--   Bytes that are no session are one that is over: what it holds is decided about, and it is purged.

local write_session, standing_session, each_session, is_over, add_held
local LIVES, EXPIRED = 0, 4

do

local SESSION = '<i8i8i8i8BH'
local UNKNOWN, TAKEN, CLOSED = 1, 2, 3

local SESSION_BYTES = 35

local function read_session(text)
  if #text < SESSION_BYTES then
    return { lease = 0, expires = 0, opened = 0, ended = 0, taken = false, info = '', garbage = true }
  end
  local lease, expires, opened, ended, taken, lname, at = struct.unpack(SESSION, text)
  return {
    lease = lease, expires = expires, opened = opened, ended = ended, taken = taken == 1,
    name = string.sub(text, at, at + lname - 1), info = string.sub(text, at + lname),
  }
end

function write_session(id, s)
  call('HSET', SESSIONS, id, struct.pack(SESSION, s.lease, s.expires, s.opened, s.ended,
    s.taken and 1 or 0, #s.name) .. s.name .. s.info)
end

-- Returns how a session stands, and the session.
function standing_session(id)
  local text = call('HGET', SESSIONS, id)
  if not text then
    return UNKNOWN
  end
  local session = read_session(text)
  if session.garbage then
    return UNKNOWN
  elseif session.taken then
    return TAKEN, session
  elseif session.ended > 0 then
    return CLOSED, session
  elseif session.expires <= now then
    return EXPIRED, session
  end
  return LIVES, session
end

function each_session()
  local found, all = {}, call('HGETALL', SESSIONS)
  for i = 1, #all, 2 do
    local session = read_session(all[i + 1])
    session.id = all[i]
    found[#found + 1] = session
  end
  table.sort(found, function(one, other)
    return one.opened < other.opened or (one.opened == other.opened and one.id < other.id)
  end)
  return found
end

function is_over(session)
  return session.ended > 0 or session.expires <= now
end

-- Adds what is needed to decide about each job that a session runs, as long as there is room.
function add_held(session, found, limit)
  local all = call('HKEYS', held_key(session.id))
  for i = 1, #all do
    if #found >= limit then
      return
    end
    local row = row_of(split(all[i]))
    if row then
      found[#found + 1] = { row.queue, row.id, slim(row) }
    else
      call('HDEL', held_key(session.id), all[i])
    end
  end
end

end
