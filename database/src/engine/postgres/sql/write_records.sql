INSERT INTO records (namespace, collection, id, version, created_at, updated_at, data, exact)
SELECT namespace, collection, id, version, created_at, $1, data::jsonb, exact
FROM unnest($2::text[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::text[], $8::text[])
     AS written (namespace, collection, id, version, created_at, data, exact)
ON CONFLICT (namespace, collection, id) DO UPDATE
SET version = excluded.version, created_at = excluded.created_at, updated_at = excluded.updated_at,
    data = excluded.data, exact = excluded.exact
