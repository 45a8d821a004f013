UPDATE versions
SET collection = moved.target
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) AS moved (namespace, collection, id, target)
WHERE (versions.namespace, versions.collection, versions.id) = (moved.namespace, moved.collection, moved.id)
