-- Applies writes, then claims, in one step.
--
-- ARGV     2 = session ('' = claim nothing), 3 = limit, 4 = 1 if the next due instant is wanted,
--          5 = number of queues, then the queues, then the writes
-- RETURNS  {now, results, how the session stands, claimed (flat: queue, id, record), next due}
-- INVARIANTS
--   The writes stand whatever the session says: their fences decide.

local session, limit, count = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[5])
local queues = {}
for i = 1, count do
  queues[i] = ARGV[5 + i]
end
local results = apply_all(6 + count, #ARGV)
local lives, taken, due = LIVES, { count = 0 }, -1
if session ~= '' then
  lives = standing_session(session)
end
if session ~= '' and lives == LIVES then
  taken = claim(session, queues, limit)
  if ARGV[4] == '1' or (limit > 0 and taken.count >= limit) then
    due = next_due(queues)
  end
  if due >= 0 and due <= now and taken.count >= limit then
    for _, queue in ipairs(queues) do
      bells[queue] = true -- more is due: whoever waits takes it
    end
  end
end
flush_bells()
return { now, results, lives, taken, due }
