-- The records a batch is about, with their documents where they are to be patched.
SELECT wanted.place, version, created_at,
       CASE WHEN wanted.document THEN coalesce(exact, data::text) END
FROM unnest($1::text[], $2::text[], $3::text[], $4::boolean[]) WITH ORDINALITY
     AS wanted (namespace, collection, id, document, place)
JOIN records USING (namespace, collection, id)
