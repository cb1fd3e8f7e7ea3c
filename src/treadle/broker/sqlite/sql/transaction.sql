-- What every write transaction does besides its operations.
--
-- INVARIANTS: counts change with the rows. Entries of the event log are numbered without gaps; the
-- newest row of the log is never dropped, so numbers are never given twice. `fence` of the table
-- `meta` is never less than the fence of a row of `job` that has become a memory, or has gone; `seq`
-- of `meta`, if it is there, never less than the seq of a row that was the last one and has gone.

-- name: last_seq
-- plan: PRIMARY KEY
SELECT max(
    coalesce((SELECT seq FROM job ORDER BY seq DESC LIMIT 1), 0),
    coalesce((SELECT value FROM meta
        WHERE name = 'seq' AND typeof(value) = 'integer' AND value < 4611686018427387904), 0));

-- name: highest_gone
-- plan: PRIMARY KEY
SELECT value FROM meta WHERE name = 'fence';

-- name: retire
INSERT INTO meta (name, value) VALUES ('fence', ?)
ON CONFLICT (name) DO UPDATE SET value = excluded.value;

-- name: retire_seq
INSERT INTO meta (name, value) VALUES ('seq', ?)
ON CONFLICT (name) DO UPDATE SET value = excluded.value;

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
