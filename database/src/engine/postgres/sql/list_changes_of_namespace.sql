SELECT sequence, namespace, collection, id, kind, at
FROM changes
WHERE namespace = $3 AND sequence > $1
ORDER BY sequence
LIMIT $2
