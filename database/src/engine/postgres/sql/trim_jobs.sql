-- Some of the jobs that ended in one way before a time; what another process is removing is left to it.
WITH gone AS (
    DELETE FROM jobs WHERE id IN (
        SELECT id FROM jobs
        WHERE state = $1 AND state IN ('succeeded', 'canceled', 'dead') AND updated_at < $2
        ORDER BY updated_at LIMIT $3
        FOR UPDATE SKIP LOCKED
    )
    RETURNING 1
)
SELECT count(*) FROM gone
