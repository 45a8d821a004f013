INSERT INTO changes (sequence, namespace, collection, id, kind, at) VALUES ($1, $2, $3, $4, $5, $6)
