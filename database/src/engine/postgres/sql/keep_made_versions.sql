-- What a batch wrote and overwrote again.
INSERT INTO versions (namespace, collection, id, version, created_at, updated_at, until, data)
SELECT namespace, collection, id, version, created_at, $1, $1, data
FROM unnest($2::text[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::text[])
     AS kept (namespace, collection, id, version, created_at, data)
