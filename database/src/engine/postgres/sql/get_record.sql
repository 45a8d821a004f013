SELECT id, version, created_at, updated_at, coalesce(exact, data::text)
FROM records
WHERE namespace = $1 AND collection = $2 AND id = $3
