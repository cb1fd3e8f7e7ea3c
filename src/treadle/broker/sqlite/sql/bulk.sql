-- Storing many jobs at once.
--
-- INVARIANTS: an id is stored once in a queue (index job_id), also while it is only remembered.
-- Conflicts are counted by the caller: rows changed < rows given. A job and its spec have one `seq`.

-- name: limit
-- plan: INTEGER PRIMARY KEY
SELECT most FROM queue WHERE id = ?;

-- name: add_plain
-- A job that waits for nothing but time.
INSERT INTO job (seq, id, queue, prio, state, fence, due, expires, created, ckey)
VALUES (?, ?, ?, ?, 1, ?, ?, ?, ?, ?)
ON CONFLICT DO NOTHING;

-- name: add_one
-- A single job: number, fence and limit in one statement, since whoever waits for it waits for each. No
-- row comes back if its id is there, its queue has a limit, or the fence makes no sense.
-- plan: PRIMARY KEY
-- plan: INTEGER PRIMARY KEY
INSERT INTO job (seq, id, queue, prio, state, fence, due, expires, created, ckey)
SELECT 1 + max(gone.seq, coalesce((SELECT seq FROM job ORDER BY seq DESC LIMIT 1), 0)),
    :id, :queue, :prio, 1, 1 + gone.fence, :due, :expires, :now, :ckey
FROM (
    SELECT coalesce((SELECT value FROM meta WHERE name = 'fence'), 0) AS fence,
        coalesce((SELECT value FROM meta
            WHERE name = 'seq' AND typeof(value) = 'integer' AND value <= :plausible), 0) AS seq
) AS gone
WHERE typeof(gone.fence) = 'integer' AND gone.fence BETWEEN 0 AND :plausible
    AND (SELECT most FROM queue WHERE id = :queue) IS NULL
ON CONFLICT DO NOTHING
RETURNING seq, fence;

-- name: add_lot
-- `ids`: a JSON object from sequence numbers to ids.
INSERT INTO job (seq, id, queue, prio, state, fence, due, expires, created, ckey)
SELECT CAST(key AS INTEGER), value, :queue, :prio, 1, :fence, :due, :expires, :now, :ckey
FROM json_each(:ids) WHERE true
ON CONFLICT DO NOTHING;

-- name: add_spec
INSERT INTO spec (seq, body, payload) VALUES (?, ?, ?);

-- name: add_lot_specs
-- `places`: a JSON object from sequence numbers to where in `payloads` a payload begins, counted
-- from 1, times 2^24, plus its length.
INSERT INTO spec (seq, body, payload)
SELECT CAST(key AS INTEGER), :body, substr(:payloads, value >> 24, value & 16777215)
FROM json_each(:places);
