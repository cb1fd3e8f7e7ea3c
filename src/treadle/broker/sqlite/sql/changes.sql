-- Applying writes.
--
-- INVARIANTS: every statement names one row and was preceded by, or contains, the comparison of its
-- fence under the write lock. The heads that are written are those of domain.head.replaced.

-- name: succeed
-- A running job that succeeds, its history row derivable: one statement, all conditions in it.
-- plan: job_id
UPDATE job INDEXED BY job_id
SET state = 3, fence = fence + 1, due = ?, attempt = ?, cancel = 0, finished = ?, more = NULL,
    at = ?, ran_ms = ?, last = NULL, result = ?
WHERE id = ? AND queue = ? AND fence = ? AND state = 2 AND claimed = ? AND session = ?;

-- name: row
-- plan: job_id
-- plan: INTEGER PRIMARY KEY
SELECT {head}, coalesce(spec.body, x''), NULL, job.at, job.ran_ms, job.last, NULL
FROM job INDEXED BY job_id LEFT JOIN spec ON spec.seq = job.seq
WHERE job.id = ? AND job.queue = ?;

-- name: replace
-- plan: INTEGER PRIMARY KEY
UPDATE job
SET state = ?, fence = ?, due = ?, attempt = ?, cancel = 0, finished = ?, expires = ?,
    blocked_on = ?, more = ?, at = ?, ran_ms = ?, last = ?, result = ?
WHERE seq = ?;

-- name: set_body
-- plan: INTEGER PRIMARY KEY
UPDATE spec SET body = ?, payload = ? WHERE seq = ?;

-- name: set_order
-- plan: INTEGER PRIMARY KEY
UPDATE job SET prio = ?, ckey = ? WHERE seq = ?;

-- name: request_cancel
-- plan: INTEGER PRIMARY KEY
UPDATE job SET cancel = 1 WHERE seq = ? AND fence = ?;

-- name: untie
-- plan: PRIMARY KEY
DELETE FROM edge WHERE child = ?;

-- name: any_edge
SELECT EXISTS (SELECT 1 FROM edge);

-- name: look_at_children
-- plan: INTEGER PRIMARY KEY
-- plan: edge_parent
UPDATE job SET due = ?
WHERE seq IN (SELECT child FROM edge WHERE parent = ? AND queue = ?) AND state = 0;

-- name: any_final_parent
-- plan: PRIMARY KEY
-- plan: job_id
SELECT EXISTS (
    SELECT 1 FROM edge LEFT JOIN job ON job.id = edge.parent AND job.queue = edge.queue
    WHERE edge.child = ? AND (job.state IS NULL OR job.state >= 3));
