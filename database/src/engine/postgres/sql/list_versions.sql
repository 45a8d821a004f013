-- The latest first, none whose time is over by the server's clock; one more than fits into an answer tells that there is a next page.
SELECT id, version, created_at, updated_at, data, until
FROM (
    SELECT fetched.*,
           sum(octet_length(data)) OVER (ORDER BY version DESC) - octet_length(data) AS before
    FROM (
        SELECT id, version, created_at, updated_at, data, until
        FROM versions
        WHERE namespace = $1 AND collection = $2 AND id = $3 AND version < $4
              AND until > coalesce((extract(epoch FROM now()) * 1000000)::bigint - (
                  SELECT history_age FROM collections WHERE namespace = $1 AND name = $2
              ), 0)
        ORDER BY version DESC
        LIMIT $5
    ) AS fetched
) AS page
WHERE before <= $6
ORDER BY version DESC
