-- Where a job stands: every index is entered and left here, beside the head that says why.
--
-- A job that was enqueued to run at once stands in the line of its priority by its number, which is
-- an index by creation too. Whatever waits else stands among the timers by its due time, and in the
-- index of waiting jobs by its number.
-- INVARIANTS
--   `leave` and `enter` are exact opposites, so that no index can come to differ from its record.
--   A job that has left its turn does not come back to it: it waits as a timer.
--   A concurrency key counts what runs under it, also without a limit: one may be set meanwhile.

local timer_member, waiters_key, has_room, leave, enter, let_in, move, know_queue, tie,
  may_have_children, look_at_children

do

local slots, key_limits, known_queues, parents_exist = {}, {}, {}, {}

function timer_member(row)
  local found = row.timer
  if not found then
    found = struct.pack('>I8', row.seq) .. row.id
    row.timer = found
  end
  return found
end

function waiters_key(key)
  return G .. 'kw:' .. key
end

local function limit_of(key)
  local limit = key_limits[key]
  if limit == nil then
    limit = tonumber(call('HGET', G .. 'kl', key) or '') or false
    key_limits[key] = limit
  end
  return limit
end

local function used(key)
  local count = slots[key]
  if not count then
    count = tonumber(call('HGET', G .. 'ku', key) or '0')
    slots[key] = count
  end
  return count
end

local function count_slot(key, step)
  local count = used(key) + step
  slots[key] = count
  set_field(G .. 'ku', key, count > 0 and count)
end

function has_room(key)
  local limit = limit_of(key)
  return not limit or used(key) < limit
end

-- Notes which keys somebody waits for, so that nobody has to look at all of them.
local function note_waiters(key)
  flush()
  if call('EXISTS', waiters_key(key)) == 1 then
    call('SADD', G .. 'kk', key)
  else
    call('SREM', G .. 'kk', key)
  end
end

function leave(row)
  local n, state = names(row.queue), row.state
  if state == WAITING and row.in_turn then
    put(n.turns[row.prio], row.id, false)
    row.in_turn = false
    return
  elseif state == WAITING then
    put(n.timers[row.prio], timer_member(row), false)
  elseif state == RUNNING then
    set_field(held_key(row.session), member(row.queue, row.id), false)
    count_running(row.queue, -1)
    if row.key ~= '' then
      count_slot(row.key, -1)
    end
  elseif state ~= BLOCKED then
    put(n.finals, row.id, false)
  elseif row.blocked ~= '' then
    put(waiters_key(row.blocked), member(row.queue, row.id), false)
    note_waiters(row.blocked)
  else
    put(n.looks, row.id, false)
  end
  if state ~= RUNNING then -- what runs is found through its session
    put(n.state[state], row.id, false)
  end
end

function enter(row, event)
  local n, state = names(row.queue), row.state
  if state == WAITING and row.in_turn then
    put(n.turns[row.prio], row.id, row.seq)
    bells[row.queue] = true
  elseif state == WAITING then
    put(n.timers[row.prio], timer_member(row), row.first and 0 or row.due)
    bells[row.queue] = true
  elseif state == RUNNING then
    set_field(held_key(row.session), member(row.queue, row.id), digits(row.fence))
    count_running(row.queue, 1)
    if row.key ~= '' then
      count_slot(row.key, 1)
    end
  elseif state ~= BLOCKED then
    if row.due < NEVER then
      put(n.finals, row.id, row.due)
    end
  elseif row.blocked ~= '' then
    local turn = call('HINCRBY', COUNTERS, 'turn', 1)
    put(waiters_key(row.blocked), member(row.queue, row.id), turn)
    note_waiters(row.blocked)
  else
    put(n.looks, row.id, row.due)
  end
  if state ~= RUNNING and not row.in_turn then
    put(n.state[state], row.id, row.seq)
  end
  tell(row.queue, row.id, event, state)
  keep(row)
end

-- Lets up to `most` waiters of a concurrency key stand first in their lines.
function let_in(key, most)
  local waiters = waiters_key(key)
  if call('EXISTS', waiters) == 0 and not pending[waiters] then
    return
  end
  flush()
  local limit = limit_of(key)
  if limit then
    most = math.min(most, limit - used(key))
  end
  if most <= 0 then
    return
  end
  for _, who in ipairs(call('ZRANGE', waiters, 0, most - 1)) do
    local row = row_of(split(who))
    if row then
      leave(row)
      row.state, row.fence, row.due = WAITING, row.fence + 1, now
      row.finished, row.cancel, row.blocked, row.first = 0, false, '', true
      enter(row, 'unblock')
    else
      call('ZREM', waiters, who)
    end
  end
  note_waiters(key)
end

-- Moves a row whose fields `change` sets, and lets in who waited for its slot.
function move(row, event, change)
  local frees = row.state == RUNNING and row.key ~= '' and row.key
  leave(row)
  change(row)
  enter(row, event)
  if frees then
    let_in(frees, 1)
  end
end

-- Has a blocked row looked at now; nothing else of it changes, its fence neither.
local function look_at(row)
  row.due = now
  if row.blocked == '' then
    put(names(row.queue).looks, row.id, now)
  end
  keep(row)
end

function know_queue(queue)
  if not known_queues[queue] then
    known_queues[queue] = true
    call('SADD', G .. 'q', queue)
  end
end

local function child_member(id, row)
  return id .. '\0' .. member(row.queue, row.id)
end

-- Replaces the entries of the jobs that a row waits for.
function tie(row, old, new)
  for i = 1, #old, 2 do
    put(names(old[i]).children, child_member(old[i + 1], row), false)
  end
  for i = 1, #new, 2 do
    put(names(new[i]).children, child_member(new[i + 1], row), 0)
    parents_exist[new[i]] = true
  end
end

-- Tells whether a job of a queue may have children: mostly no job of it has any.
function may_have_children(queue)
  local children = names(queue).children
  if parents_exist[queue] == nil then
    parents_exist[queue] = call('EXISTS', children) == 1
  end
  return parents_exist[queue] or pending[children] ~= nil
end

-- Has the blocked children of a job looked at now; tells whether there are any.
function look_at_children(row)
  if not may_have_children(row.queue) then
    return false
  end
  local children = names(row.queue).children
  flush()
  local found, prefix = false, row.id .. '\0'
  for _, who in ipairs(call('ZRANGEBYLEX', children, '[' .. prefix, '(' .. row.id .. '\1')) do
    local child = row_of(split(string.sub(who, #prefix + 1)))
    if child and child.state == BLOCKED then
      look_at(child)
      found = true
    end
  end
  return found
end

end
