-- In the order asked for; one record beyond what fits into an answer is the first that was not looked for. Each is looked
-- for by itself: a planner that knows nothing of the table yet would rather read the whole collection.
SELECT id, version, created_at, updated_at, document, place
FROM (
    SELECT found.*, sum(octet_length(document)) OVER (ORDER BY place) - octet_length(document) AS before
    FROM (
        SELECT one.id, version, created_at, updated_at, document, place
        FROM unnest($3::text[]) WITH ORDINALITY AS wanted (id, place)
        CROSS JOIN LATERAL (
            SELECT id, version, created_at, updated_at, coalesce(exact, data::text) AS document
            FROM records
            WHERE namespace = $1 AND collection = $2 AND records.id = wanted.id
            LIMIT 1
        ) AS one
    ) AS found
) AS page
WHERE before <= $4
ORDER BY place
