-- Renews a lease, and compares what the session runs with what it believes to run.
--
-- ARGV     2 = session, 3... = what it believes to hold: fence, a space, queue, NUL, id
-- RETURNS  {now, how it stands, {numbers of the lost}, {numbers of those to be cancelled}, {orphans}}

local id = ARGV[2]
local stands, session = standing_session(id)
if stands ~= LIVES and stands ~= EXPIRED then
  return { now, stands, {}, {}, {} }
end
session.expires = now + session.lease
write_session(id, session)
local held, all = {}, call('HGETALL', held_key(id))
for i = 1, #all, 2 do
  held[all[i]] = all[i + 1]
end
local lost, cancels, orphans = {}, {}, {}
for i = 3, #ARGV do
  local at = string.find(ARGV[i], ' ', 1, true)
  local fence, who = string.sub(ARGV[i], 1, at - 1), string.sub(ARGV[i], at + 1)
  if held[who] == fence or held[who] == fence .. 'c' then
    if held[who] ~= fence then
      cancels[#cancels + 1] = i - 2
    end
    held[who] = false
  else
    lost[#lost + 1] = i - 2
  end
end
for who, fence in pairs(held) do
  local row = fence and row_of(split(who))
  if row then
    orphans[#orphans + 1] = { row.queue, row.id, slim(row) }
  end
end
return { now, LIVES, lost, cancels, orphans }
