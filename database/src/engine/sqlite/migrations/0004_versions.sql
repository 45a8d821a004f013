-- Earlier versions of records, for collections that declare a history: how many of each record, and for how long in
-- microseconds.

ALTER TABLE collections ADD COLUMN history INTEGER NOT NULL DEFAULT 0;
ALTER TABLE collections ADD COLUMN history_age INTEGER;

CREATE TABLE versions (
    number     INTEGER PRIMARY KEY,
    namespace  TEXT    NOT NULL,
    collection TEXT    NOT NULL,
    id         TEXT    NOT NULL,
    version    INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    until      INTEGER NOT NULL,
    data       TEXT    NOT NULL,
    UNIQUE (namespace, collection, id, version)
) STRICT;

CREATE INDEX versions_by_end ON versions (namespace, collection, until);
