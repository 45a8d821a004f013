-- For each queue its first jobs that nobody else is about to take; no more bytes than the claims can answer.
SELECT candidate.*
FROM unnest($1::text[], $2::bigint[], $3::bigint[]) AS wanted (name, most, bytes)
CROSS JOIN LATERAL (
    SELECT numbered.*,
           sum(octet_length(payload)) OVER (ORDER BY run_at, number) - octet_length(payload) AS before
    FROM (
        SELECT id, namespace, queue, kind, 'ready' AS state, attempt, max_attempts, payload::text,
               result::text, error, progress, lease_token, lease_until, run_at, created_at, updated_at,
               traceparent, number
        FROM jobs
        WHERE state = 'waiting' AND queue = wanted.name AND run_at <= now()
        ORDER BY run_at, number
        LIMIT wanted.most
        FOR UPDATE SKIP LOCKED
    ) AS numbered
) AS candidate
WHERE candidate.before <= wanted.bytes
ORDER BY candidate.run_at, candidate.number
