SELECT server, sequence, pg_last_wal_replay_lsn(), pg_is_in_recovery()
FROM counter
