SELECT updated_at FROM jobs
WHERE state = $1 AND state IN ('succeeded', 'canceled', 'dead')
ORDER BY updated_at DESC LIMIT 1 OFFSET $2
