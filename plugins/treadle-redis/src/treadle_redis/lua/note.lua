-- Writes what a running attempt has to say, if the session runs the job under the lease's fence.
--
-- ARGV     2 = session, then four for each note: kind, fence, queue NUL id, length of the name + name + data
-- RETURNS  per note 1, or {'existing', data}, or {'conflict', record}

local LOG_LINES = 1000
local session, reply = ARGV[2], {}

local function write(kind, row, name, data)
  local n = names(row.queue)
  if not row.noted then
    row.noted = true
    keep(row)
  end
  if kind == 'step' then
    local existing = call('HGET', n.steps .. row.id, name)
    if existing then
      return { 'existing', string.sub(existing, 9) }
    end
    local turn = call('HINCRBY', COUNTERS, 'turn', 1)
    call('HSET', n.steps .. row.id, name, struct.pack('>I8', turn) .. data)
  elseif kind == 'progress' then
    set_field(n.progress, row.id, data)
  else
    call('RPUSH', n.log .. row.id, data)
    call('LTRIM', n.log .. row.id, -LOG_LINES, -1)
  end
  return 1
end

for i = 3, #ARGV, 4 do
  local queue, id = split(ARGV[i + 2])
  local row = row_of(queue, id)
  if row and row.state == RUNNING and row.session == session and row.fence == tonumber(ARGV[i + 1]) then
    local length, at = struct.unpack('<I4', ARGV[i + 3])
    local name = string.sub(ARGV[i + 3], at, at + length - 1)
    reply[#reply + 1] = write(ARGV[i], row, name, string.sub(ARGV[i + 3], at + length))
  else
    reply[#reply + 1] = { 'conflict', standing(queue, id) or {} }
  end
end
flush()
return reply
