-- The latest first; one more than fits into an answer tells that there is a next page.
SELECT id, version, created_at, updated_at, data, until
FROM (
    SELECT fetched.*,
           sum(octet_length(data)) OVER (ORDER BY version DESC) - octet_length(data) AS before
    FROM (
        SELECT id, version, created_at, updated_at, data, until
        FROM versions
        WHERE namespace = $1 AND collection = $2 AND id = $3 AND version < $4
              AND until > coalesce($5 - (
                  SELECT history_age FROM collections WHERE namespace = $1 AND name = $2
              ), 0)
        ORDER BY version DESC
        LIMIT $6
    ) AS fetched
) AS page
WHERE before <= $7
ORDER BY version DESC
