-- How many records each collection has, written with every commit that makes or deletes some. That commit holds the
-- counter's lock, so nobody ever waits for a row of these.

CREATE TABLE counts (
    namespace  text   COLLATE "C" NOT NULL,
    collection text   COLLATE "C" NOT NULL,
    records    bigint NOT NULL,
    PRIMARY KEY (namespace, collection)
);

INSERT INTO counts SELECT namespace, collection, count(*) FROM records GROUP BY namespace, collection;

-- A fair sample of each collection: a sixteenth of its records, by a lot made of their names.
CREATE INDEX records_sampled ON records (namespace, collection, (hashtext(id) & 1048575), id)
    WHERE (hashtext(id) & 1048575) < 65536;
