SELECT sequence, namespace, collection, id, kind, at
FROM changes
WHERE sequence > $1
ORDER BY sequence
LIMIT $2
