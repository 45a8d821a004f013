-- Newest first; {conditions} are written out only where they apply, so that each finds its index. One job
-- more than fits into an answer tells that there is a next page.
SELECT page.*
FROM (
    SELECT fetched.*,
           sum(octet_length(payload) + coalesce(octet_length(result), 0)) OVER (ORDER BY id DESC)
           - octet_length(payload) - coalesce(octet_length(result), 0) AS before
    FROM (
        SELECT id, namespace, queue, kind,
               CASE WHEN state <> 'waiting' THEN state WHEN run_at > now() THEN 'scheduled' ELSE 'ready' END,
               attempt, max_attempts, payload::text, result::text, error, progress, lease_token, lease_until,
               run_at, created_at, updated_at, traceparent
        FROM jobs
        WHERE {conditions}
        ORDER BY id DESC
        LIMIT $1
    ) AS fetched
) AS page
WHERE before <= $2
ORDER BY id DESC
