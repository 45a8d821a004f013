INSERT INTO jobs (id, namespace, queue, kind, state, attempt, max_attempts, payload, result, error, progress,
                  lease_token, lease_until, run_at, created_at, updated_at, traceparent)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8::text::json, $9::text::json, $10, $11, $12, $13, $14, $15, $16, $17)
