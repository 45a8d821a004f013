-- Jobs alone change no record: they need no sequence and wait for nobody.
SELECT 0::bigint, clock_timestamp(), pg_current_xact_id()::text
