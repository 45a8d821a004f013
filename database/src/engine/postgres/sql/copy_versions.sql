SELECT id, version, created_at, updated_at, data, until, namespace, collection
FROM versions
WHERE (namespace, collection, id, version) > ($1, $2, $3, $4)
ORDER BY namespace, collection, id, version
LIMIT $5
