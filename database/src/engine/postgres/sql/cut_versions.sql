-- All but the latest so many of each record.
DELETE FROM versions
USING (
    SELECT namespace, collection, id, (
        SELECT version
        FROM versions AS kept
        WHERE kept.namespace = wanted.namespace AND kept.collection = wanted.collection AND kept.id = wanted.id
        ORDER BY version DESC
        LIMIT 1 OFFSET wanted.most
    ) AS last
    FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[]) AS wanted (namespace, collection, id, most)
) AS cut
WHERE versions.namespace = cut.namespace AND versions.collection = cut.collection AND versions.id = cut.id
      AND versions.version <= cut.last
