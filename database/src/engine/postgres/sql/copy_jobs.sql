SELECT id, namespace, queue, kind,
       CASE WHEN state <> 'waiting' THEN state WHEN run_at > now() THEN 'scheduled' ELSE 'ready' END,
       attempt, max_attempts, payload::text, result::text, error, progress, lease_token, lease_until, run_at,
       created_at, updated_at, traceparent
FROM jobs
WHERE id > $1
ORDER BY id
LIMIT $2
