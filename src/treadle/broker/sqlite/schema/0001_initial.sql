-- Schema 1: the first one.
--
-- INVARIANTS
-- - A job is one row of `job` (what changes) and one of `spec` (what does not), under one `seq`.
--   Claiming and settling rewrite the narrow row only.
-- - `queue.blocked` ... `queue.cancelled` equal the number of rows per state: they change in the
--   transaction that changes the rows, and nowhere else.
-- - `state` is the number of domain.state.State; 10 is added once the record is purged and only its
--   id, state and fence are remembered, until `due`.
-- - `due` of a job that was let in by a concurrency key is stored minus 2^60: it stands first.
-- - Conditions of partial indexes are literal, and so are those of the statements that use them.
--   There are no statistics on a fresh file, so hot statements name their index.

CREATE TABLE meta (
    name TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE queue (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    paused INTEGER NOT NULL DEFAULT 0,
    most INTEGER,                           -- so many may wait; NULL = any number
    blocked INTEGER NOT NULL DEFAULT 0,
    waiting INTEGER NOT NULL DEFAULT 0,
    running INTEGER NOT NULL DEFAULT 0,
    succeeded INTEGER NOT NULL DEFAULT 0,
    dead INTEGER NOT NULL DEFAULT 0,
    cancelled INTEGER NOT NULL DEFAULT 0
);

CREATE TABLE session (
    id INTEGER PRIMARY KEY AUTOINCREMENT,   -- never given twice, so a purged one stays unknown
    name TEXT NOT NULL,
    lease_ms INTEGER NOT NULL,
    expires INTEGER NOT NULL,
    opened INTEGER NOT NULL,
    ended INTEGER,
    taken INTEGER NOT NULL DEFAULT 0,       -- ended because another one was opened as `name`
    info BLOB NOT NULL
);
CREATE INDEX session_name ON session (name);
CREATE INDEX session_open ON session (id) WHERE ended IS NULL;

CREATE TABLE job (
    seq INTEGER PRIMARY KEY,                -- grows with creation
    id TEXT NOT NULL,
    queue INTEGER NOT NULL,
    prio INTEGER NOT NULL,
    state INTEGER NOT NULL,
    fence INTEGER NOT NULL,
    due INTEGER NOT NULL,
    attempt INTEGER NOT NULL DEFAULT 0,
    cancel INTEGER NOT NULL DEFAULT 0,
    created INTEGER NOT NULL,
    claimed INTEGER NOT NULL DEFAULT 0,
    session INTEGER,
    finished INTEGER,
    expires INTEGER NOT NULL DEFAULT 0,
    blocked_on TEXT,
    more TEXT,                              -- JSON: the parts of the head that are rarely set
    ckey TEXT,                              -- concurrency key
    at INTEGER,                             -- with ran_ms: the history row of a plain success,
    ran_ms INTEGER,                         --   of which all else stands in this row
    last BLOB,                              -- the history row of any other end
    result BLOB
);
CREATE UNIQUE INDEX job_id ON job (id, queue);
CREATE INDEX job_ready ON job (queue, prio, due, seq) WHERE state = 1;
CREATE INDEX job_run ON job (session) WHERE state = 2;
CREATE INDEX job_list ON job (queue, state, seq) WHERE state <> 2;
CREATE INDEX job_keep ON job (due) WHERE finished IS NOT NULL;
CREATE INDEX job_look ON job (due) WHERE state = 0 AND blocked_on IS NULL;
CREATE INDEX job_wait ON job (blocked_on, due, prio, seq) WHERE blocked_on IS NOT NULL;
CREATE INDEX job_keyed ON job (ckey) WHERE state = 2 AND ckey IS NOT NULL;

CREATE TABLE spec (
    seq INTEGER PRIMARY KEY,
    body BLOB NOT NULL,
    payload BLOB NOT NULL
);

CREATE TABLE history (
    job INTEGER NOT NULL,
    n INTEGER NOT NULL,
    data BLOB NOT NULL,
    PRIMARY KEY (job, n)
) WITHOUT ROWID;

CREATE TABLE edge (
    child INTEGER NOT NULL,
    n INTEGER NOT NULL,
    queue INTEGER NOT NULL,
    parent TEXT NOT NULL,
    PRIMARY KEY (child, n)
) WITHOUT ROWID;
CREATE INDEX edge_parent ON edge (parent, queue);

CREATE TABLE ukey (
    queue INTEGER NOT NULL,
    key TEXT NOT NULL,
    job TEXT NOT NULL,
    mask INTEGER NOT NULL,                  -- the states in which the key holds
    until INTEGER NOT NULL,                 -- and until when it holds whatever the state
    PRIMARY KEY (queue, key)
) WITHOUT ROWID;
CREATE INDEX ukey_job ON ukey (job, queue);

CREATE TABLE climit (
    key TEXT PRIMARY KEY,
    most INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE progress (
    job INTEGER PRIMARY KEY,
    data BLOB NOT NULL
);

CREATE TABLE step (
    n INTEGER PRIMARY KEY,
    job INTEGER NOT NULL,
    name TEXT NOT NULL,
    data BLOB NOT NULL
);
CREATE UNIQUE INDEX step_name ON step (job, name);

CREATE TABLE line (
    n INTEGER PRIMARY KEY,
    job INTEGER NOT NULL,
    fence INTEGER NOT NULL,
    at INTEGER NOT NULL,
    text TEXT NOT NULL
);
CREATE INDEX line_job ON line (job, n);

CREATE TABLE document (
    name TEXT PRIMARY KEY,
    version INTEGER NOT NULL,
    data BLOB NOT NULL
);

CREATE TABLE event (
    last INTEGER PRIMARY KEY,               -- the number of the last entry in this row
    at INTEGER NOT NULL,
    data BLOB NOT NULL                      -- JSON: [[event, queue, state, [id, ...]], ...]
);
