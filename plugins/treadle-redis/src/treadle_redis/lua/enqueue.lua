-- Stores each job once, or says why not.
--
-- ARGV     2... = a job each, as `store.lua` reads it
-- RETURNS  now, then per job its fence, or {'duplicate', record}, {'large'}, {'full', waiting, limit},
--          {'parent', queue, id}
-- INVARIANTS
--   A script that is run again finds its own jobs by their ids: nothing is stored twice.

local count = #ARGV - 1
local wanted, queues, ids, reply = {}, {}, {}, { now }
for i = 1, count do
  local queue, id = name_of_job(ARGV[i + 1])
  queues[i], ids[i] = queue, id
  local of_queue = wanted[queue]
  if not of_queue then
    of_queue = {}
    wanted[queue] = of_queue
  end
  of_queue[#of_queue + 1] = id
end
for queue, of_queue in pairs(wanted) do
  prefetch(queue, of_queue)
  prefetch_memories(queue, of_queue)
end
local seq = call('HINCRBY', COUNTERS, 'seq', count) - count
for i = 1, count do
  local fence = insert_plainly(ARGV[i + 1], queues[i], ids[i], seq + i)
  if not fence then
    local job = read_job(ARGV[i + 1])
    fence = objection(job) or insert(job, seq + i)
  end
  reply[i + 1] = fence
end
flush()
flush_bells()
return reply
