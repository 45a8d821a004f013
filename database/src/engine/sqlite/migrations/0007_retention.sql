-- Up to which sequence changes are gone: of a namespace, of any (`*`), and, since a restore, of all of them (``).

CREATE TABLE trimmed (
    namespace TEXT    PRIMARY KEY,
    sequence  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX jobs_ended ON jobs (state, updated_at) WHERE state IN ('succeeded', 'canceled', 'dead');
