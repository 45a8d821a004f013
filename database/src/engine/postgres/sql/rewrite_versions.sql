UPDATE versions
SET data = anew.data
FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::text[])
     AS anew (namespace, collection, id, version, data)
WHERE versions.namespace = anew.namespace AND versions.collection = anew.collection AND versions.id = anew.id
  AND versions.version = anew.version
