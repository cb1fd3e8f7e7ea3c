-- Returns records that somebody must decide about; nothing of them is changed.
--
-- ARGV     2 = limit
-- RETURNS  {now, {{queue, id, record without payload} ...}, {names of sessions that cannot be read}}
-- INVARIANTS
--   A clock that was set back makes no lease longer than a lease from now.

local limit, found, unread = tonumber(ARGV[2]), {}, {}

local function add_row(row)
  if row and #found < limit then
    found[#found + 1] = { row.queue, row.id, slim(row) }
  end
end

for _, session in ipairs(each_session()) do
  if session.garbage then
    unread[#unread + 1] = session.id
  elseif session.expires > now + session.lease then
    session.expires = now + session.lease
    write_session(session.id, session)
  end
  if is_over(session) then
    add_held(session, found, limit)
  end
end
for _, queue in ipairs(call('SMEMBERS', G .. 'q')) do
  if #found < limit then
    local due = call('ZRANGEBYSCORE', names(queue).looks, '-inf', now, 'LIMIT', 0, limit - #found)
    for _, id in ipairs(due) do
      add_row(row_of(queue, id))
    end
  end
end
for _, key in ipairs(call('SMEMBERS', G .. 'kk')) do
  if #found < limit and has_room(key) then
    for _, who in ipairs(call('ZRANGE', waiters_key(key), 0, -1)) do
      local row = row_of(split(who))
      if row and row.due <= now then
        add_row(row)
      end
    end
  end
end
return { now, found, unread }
