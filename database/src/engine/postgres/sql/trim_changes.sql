-- The oldest changes, if they are from before $1 or no later than $2, and the marks of what went; at most $3.
WITH oldest AS (
    SELECT sequence, at FROM changes ORDER BY sequence LIMIT $3
), ending AS (
    SELECT max(sequence) AS sequence FROM oldest WHERE at < $1 OR sequence <= $2
), gone AS (
    DELETE FROM changes USING ending WHERE changes.sequence <= ending.sequence
    RETURNING changes.namespace, changes.sequence
), marked AS (
    INSERT INTO trimmed (namespace, sequence)
    SELECT namespace, max(sequence) FROM gone GROUP BY namespace
    UNION ALL SELECT '*', max(sequence) FROM gone HAVING count(*) > 0
    ON CONFLICT (namespace) DO UPDATE SET sequence = greatest(trimmed.sequence, excluded.sequence)
)
SELECT count(*) FROM gone
