-- Claiming.
--
-- INVARIANTS: the caller holds the write lock, so what `candidates` shows is what the next statement
-- finds. A job becomes running, and leaves the index job_ready, in one statement. The head it gets is
-- domain.head.claimed: state, fence + 1, attempt + 1, due = claimed = now, session.

-- name: candidates
-- One exact range of the index per priority, lazily: a lower one is not read if `limit` is met.
-- plan: job_ready
-- plan: INTEGER PRIMARY KEY
SELECT * FROM (
    SELECT job.seq, job.id, job.prio, job.due, job.fence, job.attempt, job.created, job.expires,
        job.more, spec.body, spec.payload, job.ckey
    FROM job INDEXED BY job_ready LEFT JOIN spec ON spec.seq = job.seq
    WHERE job.state = 1 AND job.queue = :queue AND job.prio = 0 AND job.due <= :now
    ORDER BY job.due, job.seq LIMIT :limit)
UNION ALL SELECT * FROM (
    SELECT job.seq, job.id, job.prio, job.due, job.fence, job.attempt, job.created, job.expires,
        job.more, spec.body, spec.payload, job.ckey
    FROM job INDEXED BY job_ready LEFT JOIN spec ON spec.seq = job.seq
    WHERE job.state = 1 AND job.queue = :queue AND job.prio = 1 AND job.due <= :now
    ORDER BY job.due, job.seq LIMIT :limit)
UNION ALL SELECT * FROM (
    SELECT job.seq, job.id, job.prio, job.due, job.fence, job.attempt, job.created, job.expires,
        job.more, spec.body, spec.payload, job.ckey
    FROM job INDEXED BY job_ready LEFT JOIN spec ON spec.seq = job.seq
    WHERE job.state = 1 AND job.queue = :queue AND job.prio = 2 AND job.due <= :now
    ORDER BY job.due, job.seq LIMIT :limit)
UNION ALL SELECT * FROM (
    SELECT job.seq, job.id, job.prio, job.due, job.fence, job.attempt, job.created, job.expires,
        job.more, spec.body, spec.payload, job.ckey
    FROM job INDEXED BY job_ready LEFT JOIN spec ON spec.seq = job.seq
    WHERE job.state = 1 AND job.queue = :queue AND job.prio = 3 AND job.due <= :now
    ORDER BY job.due, job.seq LIMIT :limit)
LIMIT :limit;

-- name: start_many
-- plan: INTEGER PRIMARY KEY
UPDATE job
SET state = 2, fence = fence + 1, attempt = attempt + 1, cancel = 0, due = ?, claimed = ?,
    session = ?
WHERE seq IN ({many});

-- name: whole
-- plan: INTEGER PRIMARY KEY
SELECT {head}, coalesce(spec.body, x''), coalesce(spec.payload, x'')
FROM job LEFT JOIN spec ON spec.seq = job.seq WHERE job.seq = ?;

-- name: start_mended
-- plan: INTEGER PRIMARY KEY
UPDATE job
SET state = 2, id = ?, fence = ?, due = ?, attempt = ?, cancel = ?, created = ?, claimed = ?,
    session = ?, finished = ?, expires = ?, blocked_on = ?, more = ?
WHERE seq = ?;

-- name: park
-- The head is domain.head.blocked_on.
-- plan: INTEGER PRIMARY KEY
UPDATE job SET state = 0, fence = fence + 1, due = ?, more = ?, blocked_on = ckey WHERE seq = ?;

-- name: paused
-- plan: INTEGER PRIMARY KEY
SELECT paused FROM queue WHERE id = ?;

-- name: next_due
-- plan: job_ready
SELECT min(due) FROM (
    SELECT min(due) AS due FROM job INDEXED BY job_ready
    WHERE state = 1 AND queue = :queue AND prio = 0
    UNION ALL SELECT min(due) FROM job INDEXED BY job_ready
    WHERE state = 1 AND queue = :queue AND prio = 1
    UNION ALL SELECT min(due) FROM job INDEXED BY job_ready
    WHERE state = 1 AND queue = :queue AND prio = 2
    UNION ALL SELECT min(due) FROM job INDEXED BY job_ready
    WHERE state = 1 AND queue = :queue AND prio = 3);
