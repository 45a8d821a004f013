INSERT INTO counts (namespace, collection, records)
SELECT namespace, collection, change
FROM unnest($1::text[], $2::text[], $3::bigint[]) AS changed (namespace, collection, change)
ON CONFLICT (namespace, collection) DO UPDATE SET records = counts.records + excluded.records
