-- Pauses, limits, documents and counts.
--
-- INVARIANTS: a version of a document is never given twice, also after a removal.

-- name: pause
-- plan: INTEGER PRIMARY KEY
UPDATE queue SET paused = ? WHERE id = ?;

-- name: set_limit
INSERT INTO climit (key, most) VALUES (?, ?)
ON CONFLICT (key) DO UPDATE SET most = excluded.most;

-- name: lift_limit
-- plan: PRIMARY KEY
DELETE FROM climit WHERE key = ?;

-- name: set_queue_limit
-- plan: INTEGER PRIMARY KEY
UPDATE queue SET most = ? WHERE id = ?;

-- name: key_limits
SELECT key, most FROM climit;

-- name: queue_limits
SELECT name, most FROM queue WHERE most IS NOT NULL;

-- name: next_version
INSERT INTO meta (name, value) VALUES ('document', 1)
ON CONFLICT (name) DO UPDATE SET value = value + 1
RETURNING value;

-- name: put_document
INSERT INTO document (name, version, data) VALUES (?, ?, ?)
ON CONFLICT (name) DO UPDATE SET version = excluded.version, data = excluded.data;

-- name: drop_document
-- plan: sqlite_autoindex_document_1
DELETE FROM document WHERE name = ?;

-- name: document
-- plan: sqlite_autoindex_document_1
SELECT name, version, data FROM document WHERE name = ?;

-- name: documents
-- plan: sqlite_autoindex_document_1
SELECT name, version, data FROM document
WHERE name >= ? AND substr(name, 1, ?) = ? ORDER BY name;

-- name: queues
SELECT id, name, paused, blocked, waiting, running, succeeded, dead, cancelled
FROM queue ORDER BY name;

-- name: later
-- plan: job_ready
SELECT count(*) FROM (
    SELECT 1 FROM job INDEXED BY job_ready
    WHERE state = 1 AND queue = :queue AND prio = 0 AND due > :now LIMIT :most)
UNION ALL SELECT count(*) FROM (
    SELECT 1 FROM job INDEXED BY job_ready
    WHERE state = 1 AND queue = :queue AND prio = 1 AND due > :now LIMIT :most)
UNION ALL SELECT count(*) FROM (
    SELECT 1 FROM job INDEXED BY job_ready
    WHERE state = 1 AND queue = :queue AND prio = 2 AND due > :now LIMIT :most)
UNION ALL SELECT count(*) FROM (
    SELECT 1 FROM job INDEXED BY job_ready
    WHERE state = 1 AND queue = :queue AND prio = 3 AND due > :now LIMIT :most);

-- name: due
-- plan: job_ready
SELECT count(*) FROM (
    SELECT 1 FROM job INDEXED BY job_ready
    WHERE state = 1 AND queue = :queue AND prio = 0 AND due <= :now LIMIT :most)
UNION ALL SELECT count(*) FROM (
    SELECT 1 FROM job INDEXED BY job_ready
    WHERE state = 1 AND queue = :queue AND prio = 1 AND due <= :now LIMIT :most)
UNION ALL SELECT count(*) FROM (
    SELECT 1 FROM job INDEXED BY job_ready
    WHERE state = 1 AND queue = :queue AND prio = 2 AND due <= :now LIMIT :most)
UNION ALL SELECT count(*) FROM (
    SELECT 1 FROM job INDEXED BY job_ready
    WHERE state = 1 AND queue = :queue AND prio = 3 AND due <= :now LIMIT :most);

-- name: oldest_due
-- plan: job_ready
SELECT min(due) FROM (
    SELECT min(due) AS due FROM job INDEXED BY job_ready
    WHERE state = 1 AND queue = :queue AND prio = 0 AND due <= :now AND due >= :from
    UNION ALL SELECT min(due) FROM job INDEXED BY job_ready
    WHERE state = 1 AND queue = :queue AND prio = 1 AND due <= :now AND due >= :from
    UNION ALL SELECT min(due) FROM job INDEXED BY job_ready
    WHERE state = 1 AND queue = :queue AND prio = 2 AND due <= :now AND due >= :from
    UNION ALL SELECT min(due) FROM job INDEXED BY job_ready
    WHERE state = 1 AND queue = :queue AND prio = 3 AND due <= :now AND due >= :from);
