-- Also when it is gone.
SELECT greatest(
    (SELECT sequence FROM changes WHERE namespace = $1 ORDER BY sequence DESC LIMIT 1),
    (SELECT max(sequence) FROM trimmed WHERE namespace IN ($1, ''))
)
