-- Times are whole microseconds since 1970, UTC. Documents are JSON text as it was written.

CREATE TABLE records (
    number     INTEGER PRIMARY KEY,
    namespace  TEXT    NOT NULL,
    collection TEXT    NOT NULL,
    id         TEXT    NOT NULL,
    version    INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    data       TEXT    NOT NULL,
    UNIQUE (namespace, collection, id)
) STRICT;

-- AUTOINCREMENT: a sequence is never used again, also not after old changes are removed.
CREATE TABLE changes (
    sequence   INTEGER PRIMARY KEY AUTOINCREMENT,
    namespace  TEXT    NOT NULL,
    collection TEXT    NOT NULL,
    id         TEXT    NOT NULL,
    kind       TEXT    NOT NULL CHECK (kind IN ('create', 'update', 'delete')),
    at         INTEGER NOT NULL
) STRICT;

CREATE INDEX changes_by_namespace ON changes (namespace, sequence);

-- A waiting job is scheduled before its run_at and ready from then on, so that the passing of time needs
-- no write.
CREATE TABLE jobs (
    number       INTEGER PRIMARY KEY,
    id           TEXT    NOT NULL UNIQUE,
    namespace    TEXT    NOT NULL,
    queue        TEXT    NOT NULL,
    kind         TEXT    NOT NULL,
    state        TEXT    NOT NULL CHECK (state IN ('waiting', 'leased', 'succeeded', 'dead', 'canceled')),
    attempt      INTEGER NOT NULL,
    max_attempts INTEGER NOT NULL,
    payload      TEXT    NOT NULL,
    result       TEXT,
    error        TEXT,
    progress     REAL,
    lease_token  INTEGER NOT NULL,
    lease_until  INTEGER,
    run_at       INTEGER NOT NULL,
    created_at   INTEGER NOT NULL,
    updated_at   INTEGER NOT NULL,
    traceparent  TEXT
) STRICT;

CREATE INDEX jobs_of_queue ON jobs (queue, id);
CREATE INDEX jobs_waiting ON jobs (queue, run_at, number) WHERE state = 'waiting';
CREATE INDEX jobs_leased ON jobs (lease_until, queue) WHERE state = 'leased';
CREATE INDEX jobs_dead ON jobs (queue, id) WHERE state = 'dead';
