-- Up to which sequence changes are gone: of a namespace, of any (`*`), and, since a restore, of all of them (``).

CREATE TABLE trimmed (
    namespace text   COLLATE "C" PRIMARY KEY,
    sequence  bigint NOT NULL
);

CREATE INDEX jobs_ended ON jobs (state, updated_at) WHERE state IN ('succeeded', 'canceled', 'dead');

-- Which server wrote last, and in which of its histories: another one has been restored or has taken over.
ALTER TABLE counter ADD COLUMN server text;
