-- Unique keys.
--
-- INVARIANTS: a key is one row; that it no longer holds is computed when somebody asks for it
-- (domain.unique.holds), so nothing is written when a job leaves the scope of its key.

-- name: holder
-- plan: PRIMARY KEY
-- plan: job_id
SELECT ukey.job, ukey.mask, ukey.until, job.state
FROM ukey LEFT JOIN job ON job.id = ukey.job AND job.queue = ukey.queue
WHERE ukey.queue = ? AND ukey.key = ?;

-- name: take
INSERT INTO ukey (queue, key, job, mask, until) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (queue, key)
DO UPDATE SET job = excluded.job, mask = excluded.mask, until = excluded.until;

-- name: drop
-- plan: ukey_job
DELETE FROM ukey INDEXED BY ukey_job WHERE job = ? AND queue = ?;

-- name: until
-- plan: ukey_job
SELECT max(until) FROM ukey INDEXED BY ukey_job WHERE job = ? AND queue = ?;
