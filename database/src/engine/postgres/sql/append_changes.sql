INSERT INTO changes (sequence, namespace, collection, id, kind, at)
SELECT sequence, namespace, collection, id, kind, $1
FROM unnest($2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[])
     AS written (sequence, namespace, collection, id, kind)
