-- Retention.

-- name: past
-- plan: job_keep
SELECT {head}, coalesce(spec.body, x''), NULL
FROM job INDEXED BY job_keep LEFT JOIN spec ON spec.seq = job.seq
WHERE job.finished IS NOT NULL AND job.due <= ? ORDER BY job.due LIMIT ?;

-- name: newest_event
SELECT last FROM event ORDER BY last DESC LIMIT 1;

-- name: trim_events
-- plan: INTEGER PRIMARY KEY
DELETE FROM event WHERE last <= ?;
