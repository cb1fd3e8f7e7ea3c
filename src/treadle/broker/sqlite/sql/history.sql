-- History rows, and whole records.
--
-- INVARIANTS: rows of a job are numbered as they were written; the row of its final change stands in
-- the job's own row (at, ran_ms, last) and moves here when the job is retried.

-- name: append
-- plan: PRIMARY KEY
INSERT INTO history (job, n, data)
VALUES (?, (SELECT coalesce(max(n), 0) + 1 FROM history WHERE job = ?), ?);

-- name: trim
-- plan: PRIMARY KEY
DELETE FROM history
WHERE job = ? AND n <= (SELECT max(n) FROM history WHERE job = ?) - ?;

-- name: read
-- plan: PRIMARY KEY
SELECT data FROM history WHERE job = ? ORDER BY n;

-- name: edges
-- plan: PRIMARY KEY
SELECT queue, parent FROM edge WHERE child = ? ORDER BY n;

-- name: whole
-- plan: job_id
-- plan: INTEGER PRIMARY KEY
SELECT {head}, coalesce(spec.body, x''), spec.payload, job.at, job.ran_ms, job.last, job.result
FROM job INDEXED BY job_id LEFT JOIN spec ON spec.seq = job.seq
WHERE job.id = ? AND job.queue = ?;

-- name: anywhere
-- plan: job_id
-- plan: INTEGER PRIMARY KEY
SELECT {head}, coalesce(spec.body, x''), spec.payload, job.at, job.ran_ms, job.last, job.result
FROM job INDEXED BY job_id LEFT JOIN spec ON spec.seq = job.seq
WHERE job.id = ?
ORDER BY job.seq;
