-- Sessions and what they run.
--
-- INVARIANTS: a session is open while `ended` is NULL; it is never opened again. What a session
-- runs is the rows of job_run with its number; ending one does not touch them.

-- name: add
INSERT INTO session (name, lease_ms, expires, opened, info) VALUES (?, ?, ?, ?, ?) RETURNING id;

-- name: of_name
-- plan: session_name
SELECT id FROM session WHERE name = ? ORDER BY id;

-- name: take_over
-- plan: session_name
UPDATE session SET ended = ?, taken = 1 WHERE name = ? AND ended IS NULL;

-- name: close
-- plan: INTEGER PRIMARY KEY
UPDATE session SET ended = ? WHERE id = ? AND ended IS NULL;

-- name: get
-- plan: INTEGER PRIMARY KEY
SELECT id, name, lease_ms, expires, ended, taken FROM session WHERE id = ?;

-- name: renew
-- plan: INTEGER PRIMARY KEY
UPDATE session SET expires = ? WHERE id = ? AND ended IS NULL;

-- name: open
-- plan: session_open
SELECT id, expires, lease_ms FROM session INDEXED BY session_open WHERE ended IS NULL;

-- name: cut
-- plan: session_open
UPDATE session INDEXED BY session_open SET expires = :now + lease_ms
WHERE ended IS NULL AND expires > :now + lease_ms;

-- name: holds
-- plan: job_run
SELECT id, queue, fence, cancel FROM job INDEXED BY job_run WHERE state = 2 AND session = ?;

-- name: held
-- plan: job_run
SELECT {head}, coalesce(spec.body, x''), NULL
FROM job INDEXED BY job_run LEFT JOIN spec ON spec.seq = job.seq
WHERE job.state = 2 AND job.session = ?;

-- name: held_few
-- plan: job_run
SELECT {head}, coalesce(spec.body, x''), NULL
FROM job INDEXED BY job_run LEFT JOIN spec ON spec.seq = job.seq
WHERE job.state = 2 AND job.session = ? LIMIT ?;

-- name: held_by_nobody
-- plan: job_run
SELECT {head}, coalesce(spec.body, x''), NULL
FROM job INDEXED BY job_run LEFT JOIN spec ON spec.seq = job.seq
WHERE job.state = 2 AND job.session IS NULL LIMIT ?;

-- name: next_running
-- plan: job_run
SELECT session FROM job INDEXED BY job_run
WHERE state = 2 AND session > ? ORDER BY session LIMIT 1;

-- name: looks
-- plan: job_look
SELECT {head}, coalesce(spec.body, x''), NULL
FROM job INDEXED BY job_look LEFT JOIN spec ON spec.seq = job.seq
WHERE job.state = 0 AND job.blocked_on IS NULL AND job.due <= ? ORDER BY job.due LIMIT ?;

-- name: waiters
-- plan: job_wait
SELECT {head}, coalesce(spec.body, x''), NULL
FROM job INDEXED BY job_wait LEFT JOIN spec ON spec.seq = job.seq
WHERE job.blocked_on IS NOT NULL AND job.blocked_on = ? AND job.due <= ?
ORDER BY job.due, job.prio, job.seq LIMIT ?;

-- name: shown
-- plan: session_open
-- plan: job_run
SELECT id, name, lease_ms, expires, opened, info,
    (SELECT count(*) FROM job INDEXED BY job_run WHERE job.state = 2 AND job.session = session.id)
FROM session INDEXED BY session_open WHERE ended IS NULL ORDER BY id;

-- name: end_expired
-- plan: session_open
UPDATE session INDEXED BY session_open SET ended = :now
WHERE ended IS NULL AND expires <= :before
    AND NOT EXISTS (
        SELECT 1 FROM job INDEXED BY job_run WHERE job.state = 2 AND job.session = session.id);

-- name: drop_info
UPDATE session SET info = x'7b7d' WHERE ended <= ? AND info <> x'7b7d';

-- name: drop
DELETE FROM session
WHERE ended <= ?
    AND NOT EXISTS (
        SELECT 1 FROM job INDEXED BY job_run WHERE job.state = 2 AND job.session = session.id);
