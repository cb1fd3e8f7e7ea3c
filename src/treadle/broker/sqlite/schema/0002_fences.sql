-- Schema 2: fences of an id grow also after it was forgotten.
--
-- INVARIANTS
-- - `fence` of `meta` is the highest fence of all rows of `job` that have become memories, or have
--   gone: it changes in the transaction that removes them. A new job begins above it.
-- - What schema 1 has forgotten is not known any more; whatever is there now is below. A fence that
--   is no number of a plausible size is damage.

INSERT INTO meta (name, value)
SELECT 'fence', coalesce(max(fence), 0) FROM job
WHERE typeof(fence) = 'integer' AND fence BETWEEN 0 AND 4611686018427387903;
