INSERT INTO jobs (id, namespace, queue, kind, state, attempt, max_attempts, payload, lease_token, run_at,
                  created_at, updated_at, traceparent)
SELECT id, namespace, queue, kind, 'waiting', 0, max_attempts, payload::json, 0, run_at, $1, $1, traceparent
FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::bigint[], $7::text[], $8::timestamptz[],
            $9::text[])
     AS new (id, namespace, queue, kind, max_attempts, payload, run_at, traceparent)
