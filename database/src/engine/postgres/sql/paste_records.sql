INSERT INTO records (namespace, collection, id, version, created_at, updated_at, data, exact)
VALUES ($1, $2, $3, $4, $5, $6, $7::text::jsonb, $8)
