-- In the order asked for; one record beyond what fits into an answer is the first that was not looked for.
SELECT id, version, created_at, updated_at, document, place
FROM (
    SELECT found.*, sum(octet_length(document)) OVER (ORDER BY place) - octet_length(document) AS before
    FROM (
        SELECT id, version, created_at, updated_at, coalesce(exact, data::text) AS document, place
        FROM unnest($3::text[]) WITH ORDINALITY AS wanted (id, place)
        JOIN records USING (id)
        WHERE namespace = $1 AND collection = $2
    ) AS found
) AS page
WHERE before <= $4
ORDER BY place
