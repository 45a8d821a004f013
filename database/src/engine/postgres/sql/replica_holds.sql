SELECT pg_is_in_recovery() AND coalesce(pg_last_wal_replay_lsn() >= $1, false)
