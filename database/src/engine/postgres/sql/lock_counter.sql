-- Held until the commit. The time never goes back from one commit to the next, whichever process wrote it.
SELECT sequence, greatest(at, clock_timestamp()), pg_current_xact_id()::text
FROM counter
FOR UPDATE
