SELECT scan, number, definition, coalesce(is_ready, false), history, history_age
FROM collections
LEFT JOIN collection_indexes
     ON collection_indexes.namespace = collections.namespace AND collection_indexes.collection = collections.name
WHERE collections.namespace = $1 AND collections.name = $2
ORDER BY number
