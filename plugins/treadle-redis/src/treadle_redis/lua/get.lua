-- Reads jobs with all that is known of them.
--
-- ARGV     2... = queue ('' = ask every queue), NUL, id
-- RETURNS  per job {queue, id, record} or {queue, id, '', state, fence, until} or an empty list

local found, queues = {}, nil

local function search(id)
  local best = {}
  queues = queues or call('SMEMBERS', G .. 'q')
  for _, queue in ipairs(queues) do
    local known = standing(queue, id)
    if known and #known == 3 then
      return known
    end
    best = known or best
  end
  return best
end

for i = 2, #ARGV do
  local queue, id = split(ARGV[i])
  found[i - 1] = queue == '' and search(id) or standing(queue, id) or {}
end
return found
