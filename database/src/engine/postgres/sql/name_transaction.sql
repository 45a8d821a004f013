-- What the transaction is asked after by, should the answer to its commit be lost; null if it wrote nothing.
SELECT pg_current_xact_id_if_assigned()::text
