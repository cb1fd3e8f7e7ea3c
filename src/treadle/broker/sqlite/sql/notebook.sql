-- Notes of handlers.
--
-- INVARIANTS: a note is written only while its job runs under the fence and session of its lease. A step
-- is written once.

-- name: running
-- plan: job_id
SELECT seq FROM job INDEXED BY job_id
WHERE id = ? AND queue = ? AND fence = ? AND session = ? AND state = 2;

-- name: job
-- plan: job_id
SELECT seq FROM job INDEXED BY job_id WHERE id = ? AND queue = ?;

-- name: anywhere
-- plan: job_id
SELECT seq FROM job INDEXED BY job_id WHERE id = ? ORDER BY seq;

-- name: step
-- plan: step_name
SELECT data FROM step WHERE job = ? AND name = ?;

-- name: add_step
INSERT INTO step (job, name, data) VALUES (?, ?, ?);

-- name: set_progress
INSERT INTO progress (job, data) VALUES (?, ?)
ON CONFLICT (job) DO UPDATE SET data = excluded.data;

-- name: add_line
INSERT INTO line (job, fence, at, text) VALUES (?, ?, ?, ?);

-- name: trim_lines
-- plan: line_job
DELETE FROM line
WHERE job = ?
    AND n <= (SELECT n FROM line WHERE job = ? ORDER BY n DESC LIMIT 1 OFFSET ?);

-- name: progress
-- plan: INTEGER PRIMARY KEY
SELECT data FROM progress WHERE job = ?;

-- name: lines
-- plan: line_job
SELECT fence, at, text FROM line WHERE job = ? ORDER BY n;

-- name: steps
-- plan: step_name
SELECT name, data FROM step INDEXED BY step_name WHERE job = ? ORDER BY n;
