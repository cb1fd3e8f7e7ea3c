-- Listings, in portions of :most behind :after.
--
-- INVARIANTS: order is that of `seq`, which is that of creation. Running jobs are few and have no index
-- by creation: they are read through job_run and sorted.

-- name: shelves
SELECT id, name, blocked, waiting, running, succeeded, dead, cancelled FROM queue ORDER BY id;

-- name: whole
-- plan: INTEGER PRIMARY KEY
SELECT {head}, coalesce(spec.body, x''), NULL, job.at, job.ran_ms, job.last, NULL
FROM job LEFT JOIN spec ON spec.seq = job.seq WHERE job.seq = ?;

-- name: newest
-- plan: INTEGER PRIMARY KEY
SELECT {head}, coalesce(spec.body, x''), x''
FROM job LEFT JOIN spec ON spec.seq = job.seq
WHERE job.seq < :after AND job.state < 10 ORDER BY job.seq DESC LIMIT :most;

-- name: running_newest
-- plan: job_run
SELECT {head}, coalesce(spec.body, x''), x''
FROM job INDEXED BY job_run LEFT JOIN spec ON spec.seq = job.seq
WHERE job.state = 2 AND job.queue = :queue AND job.seq < :after
ORDER BY job.seq DESC LIMIT :most;

-- name: of_blocked_newest
-- plan: job_list
SELECT {head}, coalesce(spec.body, x''), x''
FROM job INDEXED BY job_list LEFT JOIN spec ON spec.seq = job.seq
WHERE job.queue = :queue AND job.state = 0 AND job.state <> 2 AND job.seq < :after
ORDER BY job.seq DESC LIMIT :most;

-- name: of_waiting_newest
-- plan: job_list
SELECT {head}, coalesce(spec.body, x''), x''
FROM job INDEXED BY job_list LEFT JOIN spec ON spec.seq = job.seq
WHERE job.queue = :queue AND job.state = 1 AND job.state <> 2 AND job.seq < :after
ORDER BY job.seq DESC LIMIT :most;

-- name: of_succeeded_newest
-- plan: job_list
SELECT {head}, coalesce(spec.body, x''), x''
FROM job INDEXED BY job_list LEFT JOIN spec ON spec.seq = job.seq
WHERE job.queue = :queue AND job.state = 3 AND job.state <> 2 AND job.seq < :after
ORDER BY job.seq DESC LIMIT :most;

-- name: of_dead_newest
-- plan: job_list
SELECT {head}, coalesce(spec.body, x''), x''
FROM job INDEXED BY job_list LEFT JOIN spec ON spec.seq = job.seq
WHERE job.queue = :queue AND job.state = 4 AND job.state <> 2 AND job.seq < :after
ORDER BY job.seq DESC LIMIT :most;

-- name: of_cancelled_newest
-- plan: job_list
SELECT {head}, coalesce(spec.body, x''), x''
FROM job INDEXED BY job_list LEFT JOIN spec ON spec.seq = job.seq
WHERE job.queue = :queue AND job.state = 5 AND job.state <> 2 AND job.seq < :after
ORDER BY job.seq DESC LIMIT :most;

-- name: oldest
-- plan: INTEGER PRIMARY KEY
SELECT {head}, coalesce(spec.body, x''), x''
FROM job LEFT JOIN spec ON spec.seq = job.seq
WHERE job.seq > :after AND job.state < 10 ORDER BY job.seq LIMIT :most;

-- name: running_oldest
-- plan: job_run
SELECT {head}, coalesce(spec.body, x''), x''
FROM job INDEXED BY job_run LEFT JOIN spec ON spec.seq = job.seq
WHERE job.state = 2 AND job.queue = :queue AND job.seq > :after
ORDER BY job.seq LIMIT :most;

-- name: of_blocked_oldest
-- plan: job_list
SELECT {head}, coalesce(spec.body, x''), x''
FROM job INDEXED BY job_list LEFT JOIN spec ON spec.seq = job.seq
WHERE job.queue = :queue AND job.state = 0 AND job.state <> 2 AND job.seq > :after
ORDER BY job.seq LIMIT :most;

-- name: of_waiting_oldest
-- plan: job_list
SELECT {head}, coalesce(spec.body, x''), x''
FROM job INDEXED BY job_list LEFT JOIN spec ON spec.seq = job.seq
WHERE job.queue = :queue AND job.state = 1 AND job.state <> 2 AND job.seq > :after
ORDER BY job.seq LIMIT :most;

-- name: of_succeeded_oldest
-- plan: job_list
SELECT {head}, coalesce(spec.body, x''), x''
FROM job INDEXED BY job_list LEFT JOIN spec ON spec.seq = job.seq
WHERE job.queue = :queue AND job.state = 3 AND job.state <> 2 AND job.seq > :after
ORDER BY job.seq LIMIT :most;

-- name: of_dead_oldest
-- plan: job_list
SELECT {head}, coalesce(spec.body, x''), x''
FROM job INDEXED BY job_list LEFT JOIN spec ON spec.seq = job.seq
WHERE job.queue = :queue AND job.state = 4 AND job.state <> 2 AND job.seq > :after
ORDER BY job.seq LIMIT :most;

-- name: of_cancelled_oldest
-- plan: job_list
SELECT {head}, coalesce(spec.body, x''), x''
FROM job INDEXED BY job_list LEFT JOIN spec ON spec.seq = job.seq
WHERE job.queue = :queue AND job.state = 5 AND job.state <> 2 AND job.seq > :after
ORDER BY job.seq LIMIT :most;
