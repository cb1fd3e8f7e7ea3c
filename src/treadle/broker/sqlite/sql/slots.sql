-- Concurrency keys.
--
-- INVARIANTS: a job waits for a key exactly while `blocked_on` is set. What runs is counted, never
-- remembered.

-- name: any_limit
SELECT EXISTS (SELECT 1 FROM climit);

-- name: limit
-- plan: PRIMARY KEY
SELECT most FROM climit WHERE key = ?;

-- name: used
-- plan: job_keyed
SELECT count(*) FROM (
    SELECT 1 FROM job INDEXED BY job_keyed
    WHERE state = 2 AND ckey IS NOT NULL AND ckey = ? LIMIT ?);

-- name: any_waiter
-- plan: job_wait
SELECT EXISTS (SELECT 1 FROM job INDEXED BY job_wait WHERE blocked_on IS NOT NULL);

-- name: waiters
-- plan: job_turn
SELECT seq, id, queue FROM job INDEXED BY job_turn
WHERE blocked_on IS NOT NULL AND blocked_on = ? ORDER BY turn LIMIT ?;

-- name: stand_last
-- plan: INTEGER PRIMARY KEY
-- plan: job_turn
UPDATE job
SET turn = 1 + coalesce((
    SELECT max(others.turn) FROM job AS others INDEXED BY job_turn
    WHERE others.blocked_on IS NOT NULL AND others.blocked_on = job.blocked_on), 0)
WHERE seq = ?;

-- name: let_in
-- The head is domain.head.unblocked.
-- plan: INTEGER PRIMARY KEY
UPDATE job SET state = 1, fence = fence + 1, due = ?, blocked_on = NULL WHERE seq = ?;

-- name: first_key
-- plan: job_wait
SELECT blocked_on, due FROM job INDEXED BY job_wait
WHERE blocked_on IS NOT NULL ORDER BY blocked_on, due, prio, seq LIMIT 1;

-- name: key_after
-- plan: job_wait
SELECT blocked_on, due FROM job INDEXED BY job_wait
WHERE blocked_on IS NOT NULL AND blocked_on > ? ORDER BY blocked_on, due, prio, seq LIMIT 1;
