INSERT INTO counts (namespace, collection, records)
SELECT namespace, collection, count(*) FROM records GROUP BY namespace, collection
ON CONFLICT (namespace, collection) DO UPDATE SET records = excluded.records
