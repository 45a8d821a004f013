SELECT id
FROM records
WHERE namespace = $1 AND collection = $2 AND (hashtext(id) & 1048575) < $3
ORDER BY hashtext(id) & 1048575
LIMIT $4
