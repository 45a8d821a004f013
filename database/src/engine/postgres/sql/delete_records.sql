DELETE FROM records
USING unnest($1::text[], $2::text[], $3::text[]) AS gone (namespace, collection, id)
WHERE (records.namespace, records.collection, records.id) = (gone.namespace, gone.collection, gone.id)
