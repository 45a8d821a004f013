UPDATE jobs
SET state = moved.state, attempt = moved.attempt, result = moved.result::json, error = moved.error,
    progress = moved.progress, lease_token = moved.lease_token, lease_until = moved.lease_until,
    run_at = moved.run_at, updated_at = $1
FROM unnest($2::text[], $3::text[], $4::bigint[], $5::text[], $6::text[], $7::float8[], $8::bigint[],
            $9::timestamptz[], $10::timestamptz[])
     AS moved (id, state, attempt, result, error, progress, lease_token, lease_until, run_at)
WHERE jobs.id = moved.id
