-- Whatever was answered to a writer before this was asked is flushed before this place, and in this sequence.
SELECT server, sequence, pg_current_wal_flush_lsn()
FROM counter
