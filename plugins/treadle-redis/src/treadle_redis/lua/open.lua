-- Begins a session under a name; the earlier ones of that name end in the same step.
--
-- ARGV     2 = name, 3 = lease in ms, 4 = info
-- RETURNS  {now, session, {{queue, id, record without payload} ...}}

local name, lease = ARGV[2], tonumber(ARGV[3])
local inherited = {}
for _, session in ipairs(each_session()) do
  if session.name == name then
    add_held(session, inherited, math.huge)
    if session.ended == 0 then
      session.ended, session.taken = now, true
      write_session(session.id, session)
    end
  end
end
local id = name .. '#' .. call('HINCRBY', COUNTERS, 'session', 1)
write_session(id, {
  lease = lease, expires = now + lease, opened = now, ended = 0, taken = false, name = name,
  info = ARGV[4],
})
return { now, id, inherited }
