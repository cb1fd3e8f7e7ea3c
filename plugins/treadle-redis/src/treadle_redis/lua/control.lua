-- Pauses, limits and documents.
--
-- ARGV     2 = what to do, then its own arguments
-- RETURNS  1, or for `document` {version, data} as it stands ({} = none)

local function pause(queue, paused)
  know_queue(queue)
  call('HSET', names(queue).numbers, 'paused', paused)
  if paused == '0' then
    bells[queue] = true
  end
end

local function limit_queue(queue, limit)
  know_queue(queue)
  if limit == '' then
    call('HDEL', names(queue).numbers, 'limit')
  else
    call('HSET', names(queue).numbers, 'limit', limit)
  end
end

local function limit_key(key, limit)
  if limit == '' then
    call('HDEL', G .. 'kl', key)
  else
    call('HSET', G .. 'kl', key, limit)
  end
  let_in(key, 2147483647)
end

local function document(name, version, action, data)
  local standing = call('HGET', G .. 'd', name)
  local found = standing and struct.unpack('<i8', standing) or 0
  if found ~= tonumber(version) then
    return standing and { found, string.sub(standing, 9) } or {}
  elseif action == 'remove' then
    call('HDEL', G .. 'd', name)
    return {}
  end
  found = call('HINCRBY', COUNTERS, 'document', 1)
  call('HSET', G .. 'd', name, struct.pack('<i8', found) .. data)
  return { found, data }
end

local reply = 1
if ARGV[2] == 'pause' then
  pause(ARGV[3], ARGV[4])
elseif ARGV[2] == 'limit_queue' then
  limit_queue(ARGV[3], ARGV[4])
elseif ARGV[2] == 'limit_key' then
  limit_key(ARGV[3], ARGV[4])
else
  reply = document(ARGV[3], ARGV[4], ARGV[5], ARGV[6])
end
flush()
flush_bells()
return reply
