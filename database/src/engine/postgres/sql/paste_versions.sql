INSERT INTO versions (namespace, collection, id, version, created_at, updated_at, until, data)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
