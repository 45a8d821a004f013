-- Some of those whose time is over.
DELETE FROM versions
WHERE (namespace, collection, id, version) IN (
    SELECT over.namespace, over.collection, over.id, over.version
    FROM unnest($1::text[], $2::text[], $3::bigint[]) AS wanted (namespace, name, most)
    JOIN collections USING (namespace, name)
    CROSS JOIN LATERAL (
        SELECT old.namespace, old.collection, old.id, old.version
        FROM versions AS old
        WHERE old.namespace || '/' || old.collection = wanted.namespace || '/' || wanted.name
              AND old.until <= $4 - collections.history_age
        ORDER BY old.until
        LIMIT wanted.most
    ) AS over
)
