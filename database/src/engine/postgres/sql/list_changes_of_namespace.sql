-- One row at least, which tells up to where changes are gone.
SELECT kept.sequence, kept.namespace, kept.collection, kept.id, kept.kind, kept.at, marks.gone
FROM (SELECT coalesce(max(sequence), 0) AS gone FROM trimmed WHERE namespace IN ($3, '')) AS marks
LEFT JOIN LATERAL (
    SELECT sequence, namespace, collection, id, kind, at
    FROM changes
    WHERE namespace = $3 AND sequence > $1
    ORDER BY sequence
    LIMIT $2
) AS kept ON true
