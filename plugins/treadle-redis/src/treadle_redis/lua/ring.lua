-- Leaves markers for who waits for jobs of some queues: another waiter left with what it had heard.
--
-- ARGV     2... = queues
-- RETURNS  1

for i = 2, #ARGV do
  bells[ARGV[i]] = true
end
flush_bells()
return 1
