-- Each part reads one partial index.
SELECT queue, sum(scheduled)::bigint, sum(ready)::bigint, sum(leased)::bigint, sum(dead)::bigint,
       (extract(epoch FROM now() - min(oldest)) * 1000000)::bigint
FROM (
    SELECT queue,
           count(*) FILTER (WHERE run_at > now()) AS scheduled,
           count(*) FILTER (WHERE run_at <= now()) AS ready,
           0 AS leased,
           0 AS dead,
           min(run_at) FILTER (WHERE run_at <= now()) AS oldest
    FROM jobs WHERE state = 'waiting' GROUP BY queue
    UNION ALL
    SELECT queue, 0, 0, count(*), 0, NULL FROM jobs WHERE state = 'leased' GROUP BY queue
    UNION ALL
    SELECT queue, 0, 0, 0, count(*), NULL FROM jobs WHERE state = 'dead' GROUP BY queue
) AS figures
GROUP BY queue
ORDER BY queue
