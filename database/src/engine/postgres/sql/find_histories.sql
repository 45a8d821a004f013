SELECT wanted.place, collections.history
FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS wanted (namespace, name, place)
JOIN collections USING (namespace, name)
WHERE collections.history > 0
