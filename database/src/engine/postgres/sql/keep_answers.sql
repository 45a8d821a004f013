INSERT INTO answers (namespace, key, fingerprint, committed, expires_at)
SELECT namespace, key, fingerprint, committed, expires_at
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::timestamptz[])
     AS kept (namespace, key, fingerprint, committed, expires_at)
ON CONFLICT (namespace, key) DO UPDATE
SET fingerprint = excluded.fingerprint, committed = excluded.committed, expires_at = excluded.expires_at
