DELETE FROM versions
USING unnest($1::text[], $2::text[], $3::text[]) AS gone (namespace, collection, id)
WHERE (versions.namespace, versions.collection, versions.id) = (gone.namespace, gone.collection, gone.id)
