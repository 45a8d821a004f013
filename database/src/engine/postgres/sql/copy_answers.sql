SELECT namespace, key, fingerprint, committed, expires_at
FROM answers
WHERE (namespace, key) > ($1, $2)
ORDER BY namespace, key
LIMIT $3
