-- Stores each job once, or says why not.
--
-- ARGV     2... = a job each, as `store.lua` reads it
-- RETURNS  now, then per job its fence, or {'duplicate', record}, {'large'}, {'full', waiting, limit},
--          {'parent', queue, id}
-- INVARIANTS
--   A script that is run again finds its own jobs by their ids: nothing is stored twice.

local wanted, reply = {}, { now }
for i = 2, #ARGV do
  local queue, id = name_of_job(ARGV[i])
  local ids = wanted[queue]
  if not ids then
    ids = {}
    wanted[queue] = ids
  end
  ids[#ids + 1] = id
end
for queue, ids in pairs(wanted) do
  prefetch(queue, ids)
  prefetch_memories(queue, ids)
end
local count = #ARGV - 1
local seq = call('HINCRBY', COUNTERS, 'seq', count) - count
for i = 1, count do
  local fence = insert_plainly(ARGV[i + 1], seq + i)
  if not fence then
    local job = read_job(ARGV[i + 1])
    fence = objection(job) or insert(job, seq + i)
  end
  reply[i + 1] = fence
end
flush()
flush_bells()
return reply
