-- Storing jobs one by one.
--
-- INVARIANTS: an id is stored once in a queue (index job_id), also while it is only remembered.

-- name: add
INSERT INTO job (seq, id, queue, prio, state, fence, due, expires, created, ckey)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: add_spec
INSERT INTO spec (seq, body, payload) VALUES (?, ?, ?);

-- name: add_edge
INSERT INTO edge (child, n, queue, parent) VALUES (?, ?, ?, ?);

-- name: limit
-- plan: INTEGER PRIMARY KEY
SELECT most, waiting FROM queue WHERE id = ?;

-- name: forget
-- plan: job_id
DELETE FROM job INDEXED BY job_id WHERE id = ? AND queue = ? AND state >= ? AND due <= ?
RETURNING seq;
