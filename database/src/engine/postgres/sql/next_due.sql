SELECT now(), min(first.run_at)
FROM unnest($1::text[]) AS wanted (queue)
CROSS JOIN LATERAL (
    SELECT run_at FROM jobs WHERE state = 'waiting' AND jobs.queue = wanted.queue ORDER BY run_at LIMIT 1
) AS first
