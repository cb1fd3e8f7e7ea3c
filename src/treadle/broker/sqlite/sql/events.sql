-- Reading the event log.

-- name: newest
SELECT last FROM event ORDER BY last DESC LIMIT 1;

-- name: next
-- plan: INTEGER PRIMARY KEY
SELECT last, at, data FROM event WHERE last > ? ORDER BY last LIMIT 1;
