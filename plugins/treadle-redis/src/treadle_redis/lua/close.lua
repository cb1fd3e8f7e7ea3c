-- Ends a session, if it is known and has not ended.
--
-- ARGV     2 = session
-- RETURNS  now

local _, session = standing_session(ARGV[2])
if session and session.ended == 0 then
  session.ended = now
  write_session(ARGV[2], session)
end
return now
