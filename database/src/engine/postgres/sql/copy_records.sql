SELECT id, version, created_at, updated_at, coalesce(exact, data::text), namespace, collection
FROM records
WHERE (namespace, collection, id) > ($1, $2, $3)
ORDER BY namespace, collection, id
LIMIT $4
