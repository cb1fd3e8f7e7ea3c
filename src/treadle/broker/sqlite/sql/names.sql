-- Numbers of queues and sessions.
--
-- INVARIANTS: a number is given once. `-- plan:` names what EXPLAIN QUERY PLAN must say; a test
-- compares it for every statement of these files.

-- name: queue_number
-- plan: sqlite_autoindex_queue_1
SELECT id FROM queue WHERE name = ?;

-- name: add_queue
INSERT INTO queue (name) VALUES (?) RETURNING id;

-- name: queue_name
-- plan: INTEGER PRIMARY KEY
SELECT name FROM queue WHERE id = ?;

-- name: session_name
-- plan: INTEGER PRIMARY KEY
SELECT name FROM session WHERE id = ?;
