-- What every script stands on: names of keys, the instant, and writes that are kept back.
--
-- KEYS   1 = {namespace}:n, so that a client can tell which node is meant; 2 is of cluster.lua
-- ARGV   1 = namespace
-- INVARIANTS
--   A script first reads and computes, then `flush` writes. What reads an index that this script
--   may have written to flushes before. An error in the middle therefore leaves nothing half done.
--   No key is written anywhere but through this file and the few immediate calls beside it.

local call = redis.call
local NS = ARGV[1]
local G = '{' .. NS .. '}:'
local COUNTERS = G .. 'n'
local SESSIONS = G .. 's'
local EVENTS_KEPT = 10000
local CHUNK = 4000

local time = call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)

local known_names = {}
local pending, pending_fields, bells, told, ran = {}, {}, {}, { n = 0 }, {}

-- Returns the names of the keys of a queue: all have one hash tag.
local function names(queue)
  local found = known_names[queue]
  if not found then
    local p = tag(NS, queue)
    found = {
      records = p .. 'j', memories = p .. 'm', forget = p .. 'x', unique = p .. 'u',
      children = p .. 'c', looks = p .. 'b', finals = p .. 'f', numbers = p .. 'n',
      markers = p .. 'k', progress = p .. 'p', steps = p .. 't:', log = p .. 'l:',
      turns = { [0] = p .. 'w0', p .. 'w1', p .. 'w2', p .. 'w3' },
      timers = { [0] = p .. 'd0', p .. 'd1', p .. 'd2', p .. 'd3' },
      state = { [0] = p .. 's0', p .. 's1', p .. 's2', p .. 's3', p .. 's4', p .. 's5' },
    }
    known_names[queue] = found
  end
  return found
end

-- Counts the jobs of a queue that wait, in turn or as timers.
local function waiting_of(queue)
  local n = names(queue)
  local count = call('ZCARD', n.state[1])
  for prio = 0, 3 do
    count = count + call('ZCARD', n.turns[prio])
  end
  return count
end

local function held_key(session)
  return G .. 'h:' .. session
end

local function member(queue, id)
  return queue .. '\0' .. id
end

local function digits(number)
  return string.format('%.0f', number)
end

local function split(text)
  local at = string.find(text, '\0', 1, true)
  if not at then
    return '', text -- not ours: no job has such a name
  end
  return string.sub(text, 1, at - 1), string.sub(text, at + 1)
end

-- Enters a member into a sorted set; false as score takes it out.
local function put(key, who, score)
  local members = pending[key]
  if not members then
    members = {}
    pending[key] = members
  end
  members[who] = score
end

-- Sets a field of a hash; false removes it.
local function set_field(key, field, value)
  local fields = pending_fields[key]
  if not fields then
    fields = {}
    pending_fields[key] = fields
  end
  fields[field] = value
end

-- Calls a command with any number of arguments, some at a time.
local function many(command, key, args, count)
  for from = 1, count, CHUNK do
    call(command, key, unpack(args, from, math.min(from + CHUNK - 1, count)))
  end
end

local plain = { ZADD = {}, ZREM = {}, HSET = {}, HDEL = {} }

-- Returns the arguments of a command that are kept back without looking whether another write has the
-- same aim: for records that no row was made of. These writes go before all others.
local function kept(command, key)
  local list = plain[command][key]
  if not list then
    list = { n = 0 }
    plain[command][key] = list
  end
  return list
end

local function push(list, one, two)
  local n = list.n
  list[n + 1], list[n + 2] = one, two
  list.n = n + 2
end

local function push_one(list, one)
  local n = list.n + 1
  list[n], list.n = one, n
end

local function flush_plain()
  for command, lists in pairs(plain) do
    for key, list in pairs(lists) do
      many(command, key, list, list.n)
      list.n = 0
    end
  end
end

-- Asks for fields of a hash, some at a time.
local function fetch(key, fields)
  local count = #fields
  if count <= CHUNK then
    return call('HMGET', key, unpack(fields))
  end
  local found = {}
  for from = 1, count, CHUNK do
    local part = call('HMGET', key, unpack(fields, from, math.min(from + CHUNK - 1, count)))
    for i = 1, #part do
      found[from + i - 1] = part[i]
    end
  end
  return found
end

local function flush_sets()
  for key, members in pairs(pending) do
    local adds, gone, a, g = {}, {}, 0, 0
    for who, score in pairs(members) do
      if score then
        adds[a + 1], adds[a + 2] = score, who
        a = a + 2
      else
        g = g + 1
        gone[g] = who
      end
    end
    many('ZADD', key, adds, a)
    many('ZREM', key, gone, g)
  end
  pending = {}
end

local function flush_fields()
  for key, fields in pairs(pending_fields) do
    local set, gone, s, g = {}, {}, 0, 0
    for field, value in pairs(fields) do
      if value then
        set[s + 1], set[s + 2] = field, value
        s = s + 2
      else
        g = g + 1
        gone[g] = field
      end
    end
    many('HSET', key, set, s)
    many('HDEL', key, gone, g)
  end
  pending_fields = {}
end

-- Counts the running jobs of a queue; the other states are counted by their indexes.
local function count_running(queue, step)
  ran[queue] = (ran[queue] or 0) + step
end

local function flush_running()
  for queue, step in pairs(ran) do
    if step ~= 0 then
      call('HINCRBY', names(queue).numbers, 'running', step)
    end
  end
  ran = {}
end

-- Returns an entry of the event log without the id at its end: what happened, and the state after it
-- (255 = the record is gone).
local function story(queue, event, state)
  return struct.pack('<i8BBH', now, state, #event, #queue) .. event .. queue
end

-- Leaves an entry in the event log.
local function say(begin, id)
  push_one(told, begin .. id)
end

local function tell(queue, id, event, state)
  say(story(queue, event, state), id)
end

local function flush_log()
  local count = told.n
  if count == 0 then
    return
  end
  many('RPUSH', G .. 'ev', told, count)
  local last = call('HINCRBY', COUNTERS, 'event', count)
  call('LTRIM', G .. 'ev', -EVENTS_KEPT, -1)
  -- Wakes who waits for more. A foreign entry with a higher number would stop every write: it goes.
  local woken = redis.pcall('XADD', G .. 'es', 'MAXLEN', 1, last .. '-1', 'n', 1)
  if type(woken) == 'table' and woken.err then
    call('DEL', G .. 'es')
    call('XADD', G .. 'es', 'MAXLEN', 1, last .. '-1', 'n', 1)
  end
  told.n = 0
end

-- Leaves a marker for who waits for jobs of a queue. One is enough: who takes it looks at all.
local function flush_bells()
  for queue in pairs(bells) do
    local markers = names(queue).markers
    if call('LLEN', markers) == 0 then
      call('RPUSH', markers, '1')
    end
  end
  bells = {}
end

local function strings(text)
  local found, at = {}, 1
  while at <= #text do
    local length
    length, at = struct.unpack('<I4', text, at)
    found[#found + 1] = string.sub(text, at, at + length - 1)
    at = at + length
  end
  return found
end
