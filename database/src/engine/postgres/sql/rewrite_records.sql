-- What a version says stays the same, so it keeps its number and its times.
UPDATE records
SET data = anew.data::jsonb, exact = anew.exact
FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::text[], $6::text[])
     AS anew (namespace, collection, id, version, data, exact)
WHERE records.namespace = anew.namespace AND records.collection = anew.collection AND records.id = anew.id
  AND records.version = anew.version
