-- What collections declare. The index of a row is named records_declared_<number>, and a number is never used
-- again.

CREATE TABLE collections (
    number    INTEGER PRIMARY KEY,
    namespace TEXT    NOT NULL,
    name      TEXT    NOT NULL,
    scan      INTEGER NOT NULL CHECK (scan IN (0, 1)),
    UNIQUE (namespace, name)
) STRICT;

CREATE TABLE collection_indexes (
    number     INTEGER PRIMARY KEY AUTOINCREMENT,
    collection INTEGER NOT NULL REFERENCES collections (number),
    name       TEXT    NOT NULL,
    definition TEXT    NOT NULL,
    UNIQUE (collection, name)
) STRICT;
