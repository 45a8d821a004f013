-- Names are compared byte by byte (COLLATE "C"), as SQLite does, whatever the server's locale.

-- The one row that every transaction which changes records locks first and holds until its commit: so
-- sequences become visible in their order, and none is skipped or used twice.
CREATE TABLE counter (
    one      boolean     PRIMARY KEY DEFAULT true CHECK (one),
    sequence bigint      NOT NULL,
    at       timestamptz NOT NULL
);

INSERT INTO counter (sequence, at) VALUES (0, '-infinity');

CREATE TABLE records (
    namespace  text        COLLATE "C" NOT NULL,
    collection text        COLLATE "C" NOT NULL,
    id         text        COLLATE "C" NOT NULL,
    version    bigint      NOT NULL,
    -- Whole microseconds since 1970, UTC: numbers, as which they are indexed and compared.
    created_at bigint      NOT NULL,
    updated_at bigint      NOT NULL,
    data       jsonb       NOT NULL,
    -- The document as it was written, only where that is not just what `data` holds: characters below U+0002,
    -- and numbers from 1e15 on that are not written as whole ones.
    exact      text,
    PRIMARY KEY (namespace, collection, id)
);

CREATE TABLE changes (
    sequence   bigint      PRIMARY KEY,
    namespace  text        COLLATE "C" NOT NULL,
    collection text        COLLATE "C" NOT NULL,
    id         text        COLLATE "C" NOT NULL,
    kind       text        NOT NULL CHECK (kind IN ('create', 'update', 'delete')),
    at         timestamptz NOT NULL
);

CREATE INDEX changes_by_namespace ON changes (namespace, sequence);

-- A waiting job is scheduled before its run_at and ready from then on, so that the passing of time needs
-- no write. Documents are json, which keeps them as they were written.
CREATE TABLE jobs (
    number       bigint      GENERATED ALWAYS AS IDENTITY,
    id           text        COLLATE "C" PRIMARY KEY,
    namespace    text        COLLATE "C" NOT NULL,
    queue        text        COLLATE "C" NOT NULL,
    kind         text        NOT NULL,
    state        text        NOT NULL CHECK (state IN ('waiting', 'leased', 'succeeded', 'dead', 'canceled')),
    attempt      bigint      NOT NULL,
    max_attempts bigint      NOT NULL,
    payload      json        NOT NULL,
    result       json,
    error        text,
    progress     float8,
    lease_token  bigint      NOT NULL,
    lease_until  timestamptz,
    run_at       timestamptz NOT NULL,
    created_at   timestamptz NOT NULL,
    updated_at   timestamptz NOT NULL,
    traceparent  text
);

CREATE INDEX jobs_of_queue ON jobs (queue, id);
CREATE INDEX jobs_waiting ON jobs (queue, run_at, number) WHERE state = 'waiting';
CREATE INDEX jobs_leased ON jobs (lease_until, queue) WHERE state = 'leased';
CREATE INDEX jobs_dead ON jobs (queue, id) WHERE state = 'dead';
