-- How writes are read.
--
-- A write is: kind, lengths of queue and id, fence; a change goes on with what becomes of the head, and
-- the lengths of its texts; then queue and id, and the texts of a change.

local CHANGED, CANCELLED = 0, 1 -- kinds of writes; what is neither is a removal
local TOLD_FENCE_AT, TOLD_CHANGE_AT, OUTCOME_AT, HISTORY_AT = 6, 14, 68, 72
local read_write, told_of, read_change

do

local WRITE = '<BHH'
local CHANGE = '<BBBI4I4I4i8i8i8i8BHI4' -- state to look, lengths of event, reason and what comes along
local CHANGE_BYTES = 54
local OUTCOME = '<i4I4' -- lengths of result and history
local OUTCOME_BYTES = 8
local FRESH, WITH_EDGES, WITH_JOB = 1, 2, 4
local kinds, changes = {}, {}

-- Returns kind and names of a write, and where they begin.
function read_write(text)
  local bytes = string.sub(text, 1, TOLD_FENCE_AT - 1)
  local told = kinds[bytes]
  if not told then
    local kind, lqueue, lid = struct.unpack(WRITE, bytes)
    told = { kind = kind, at = TOLD_CHANGE_AT }
    if kind == CHANGED then
      told.at = told.at + CHANGE_BYTES + OUTCOME_BYTES
    end
    told.id_at = told.at + lqueue
    told.texts_at = told.id_at + lid
    kinds[bytes] = told
  end
  return told, string.sub(text, told.at, told.id_at - 1), string.sub(text, told.id_at, told.texts_at - 1)
end

-- Reads what a change says of the head; jobs that ended alike have it in common.
function told_of(text)
  local bytes = string.sub(text, TOLD_CHANGE_AT, OUTCOME_AT - 1)
  local told = changes[bytes]
  if not told then
    local state, due_kind, flags, attempt, deaths, stalls, due, parked, delay, look, levent, lreason,
      lextra = struct.unpack(CHANGE, bytes)
    told = {
      state = state, flags = flags, attempt = attempt, deaths = deaths, stalls = stalls, parked = parked,
      delay = delay, look = look, levent = levent, lreason = lreason, lextra = lextra, endings = {},
      till = due_kind ~= KEEP and instant(due_kind, due),
    }
    told.is_plain = state > RUNNING and flags == 0 and lextra == 0 and lreason == 0 and told.till
      and pack_seldom(deaths, stalls, parked, delay, look, 0, 0) == ''
    told.till_bytes = told.till and struct.pack('<i8', told.till)
    changes[bytes] = told
  end
  return told
end

-- Reads a change whole.
function read_change(text, texts_at)
  local told = told_of(text)
  local lresult, lhistory = struct.unpack(OUTCOME, text, OUTCOME_AT)
  local reason_at = texts_at + told.levent
  local result_at = reason_at + told.lreason
  local history_at = result_at + (lresult > 0 and lresult or 0)
  local extra_at = history_at + lhistory
  return {
    told = told, event = string.sub(text, texts_at, reason_at - 1),
    reason = string.sub(text, reason_at, result_at - 1),
    result = lresult >= 0 and string.sub(text, result_at, history_at - 1),
    history = string.sub(text, history_at, extra_at - 1),
    fresh = has_flag(told.flags, FRESH), with_edges = has_flag(told.flags, WITH_EDGES),
    with_job = has_flag(told.flags, WITH_JOB),
    extra = told.lextra > 0 and strings(string.sub(text, extra_at)) or {},
  }
end

end
