-- What every write transaction does besides its operations.
--
-- INVARIANTS: counts change with the rows. Entries of the event log are numbered without gaps; the
-- newest row of the log is never dropped, so numbers are never given twice.

-- name: last_job
SELECT seq FROM job ORDER BY seq DESC LIMIT 1;

-- name: count
-- plan: INTEGER PRIMARY KEY
UPDATE queue
SET blocked = blocked + ?, waiting = waiting + ?, running = running + ?,
    succeeded = succeeded + ?, dead = dead + ?, cancelled = cancelled + ?
WHERE id = ?;

-- name: add_event
INSERT INTO event (last, at, data)
VALUES (coalesce((SELECT last FROM event ORDER BY last DESC LIMIT 1), 0) + ?, ?, ?)
RETURNING last;

-- name: trim_events
-- plan: INTEGER PRIMARY KEY
DELETE FROM event WHERE last <= ?;
