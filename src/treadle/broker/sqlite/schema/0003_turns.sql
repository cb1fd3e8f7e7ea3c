-- Schema 3: who waits for a slot of a concurrency key stands in the order in which they came.
--
-- INVARIANTS
-- - `turn` grows with each job that begins to wait for a key, or is put back to wait for it, and is
--   given once among those that wait for one key. It says nothing while `blocked_on` is NULL.

ALTER TABLE job ADD COLUMN turn INTEGER;
UPDATE job SET turn = due WHERE blocked_on IS NOT NULL;
CREATE INDEX job_turn ON job (blocked_on, turn) WHERE blocked_on IS NOT NULL;
