SELECT wanted.place, fingerprint, committed
FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS wanted (namespace, key, place)
JOIN answers USING (namespace, key)
WHERE expires_at > clock_timestamp()
