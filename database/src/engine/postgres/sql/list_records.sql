-- One record more than fits into an answer tells that there is a next page.
SELECT id, version, created_at, updated_at, document
FROM (
    SELECT fetched.*, sum(octet_length(document)) OVER (ORDER BY id) - octet_length(document) AS before
    FROM (
        SELECT id, version, created_at, updated_at, coalesce(exact, data::text) AS document
        FROM records
        WHERE namespace = $1 AND collection = $2 AND id > $3
        ORDER BY id
        LIMIT $4
    ) AS fetched
) AS page
WHERE before <= $5
ORDER BY id
