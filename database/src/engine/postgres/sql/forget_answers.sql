DELETE FROM answers
WHERE (namespace, key) IN (
    SELECT namespace, key FROM answers WHERE expires_at <= clock_timestamp() ORDER BY expires_at LIMIT $1
)
