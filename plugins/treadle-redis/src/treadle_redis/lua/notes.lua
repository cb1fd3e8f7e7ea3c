-- Reads what handlers noted about a job.
--
-- ARGV     2 = queue ('' = ask every queue), 3 = id
-- RETURNS  {{progress} or {}, log lines, steps (flat: name, 8 bytes of order and data)}

local id = ARGV[3]
local queues = ARGV[2] ~= '' and { ARGV[2] } or call('SMEMBERS', G .. 'q')
for _, queue in ipairs(queues) do
  local n = names(queue)
  local progress = call('HGET', n.progress, id)
  local log = call('LRANGE', n.log .. id, 0, -1)
  local steps = call('HGETALL', n.steps .. id)
  if progress or #log > 0 or #steps > 0 then
    return { { progress or nil }, log, steps }
  end
end
return { {}, {}, {} }
