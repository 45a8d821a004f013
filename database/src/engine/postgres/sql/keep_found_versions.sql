INSERT INTO versions (namespace, collection, id, version, created_at, updated_at, until, data)
SELECT namespace, collection, id, version, created_at, updated_at, $1, coalesce(exact, data::text)
FROM unnest($2::text[], $3::text[], $4::text[]) AS kept (namespace, collection, id)
JOIN records USING (namespace, collection, id)
