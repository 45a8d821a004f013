-- How many records each collection has, written with every commit that makes or deletes some.

CREATE TABLE counts (
    namespace  TEXT    NOT NULL,
    collection TEXT    NOT NULL,
    records    INTEGER NOT NULL,
    PRIMARY KEY (namespace, collection)
) STRICT, WITHOUT ROWID;

INSERT INTO counts SELECT namespace, collection, count(*) FROM records GROUP BY namespace, collection;

-- A fair sample of each collection: a sixteenth of its records, by a lot made of their numbers (engine/sqlite/sample.rs).
CREATE INDEX records_sampled ON records
    (namespace, collection, (number * 48271 % 2097143) * (number * 48271 % 2097143) % 1048573)
    WHERE (number * 48271 % 2097143) * (number * 48271 % 2097143) % 1048573 < 65536;
