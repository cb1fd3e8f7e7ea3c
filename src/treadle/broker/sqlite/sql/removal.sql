-- Removing final records.
--
-- INVARIANTS: with a job go all rows that carry its seq. What is remembered of it is its own row,
-- with 10 added to the state and nothing left but id, state and fence: the index job_id then
-- refuses the id to others for free.

-- name: remember
-- plan: INTEGER PRIMARY KEY
UPDATE job
SET state = ?, fence = ?, due = ?, expires = 0, more = NULL, ckey = NULL, at = NULL, ran_ms = NULL,
    last = NULL, result = NULL, cancel = 0, blocked_on = NULL
WHERE seq = ?;

-- name: drop_job
-- plan: INTEGER PRIMARY KEY
DELETE FROM job WHERE seq = ?;

-- name: drop_spec
-- plan: INTEGER PRIMARY KEY
DELETE FROM spec WHERE seq = ?;

-- name: drop_history
-- plan: PRIMARY KEY
DELETE FROM history WHERE job = ?;

-- name: drop_edges
-- plan: PRIMARY KEY
DELETE FROM edge WHERE child = ?;

-- name: drop_progress
-- plan: INTEGER PRIMARY KEY
DELETE FROM progress WHERE job = ?;

-- name: drop_steps
-- plan: step_name
DELETE FROM step WHERE job = ?;

-- name: drop_lines
-- plan: line_job
DELETE FROM line WHERE job = ?;
