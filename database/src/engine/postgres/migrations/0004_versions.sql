-- Earlier versions of records, for collections that declare a history: how many of each record, and for how long in
-- microseconds. Nothing is searched in them, so their documents are texts.

ALTER TABLE collections ADD COLUMN history integer NOT NULL DEFAULT 0, ADD COLUMN history_age bigint;

CREATE TABLE versions (
    namespace  text   COLLATE "C" NOT NULL,
    collection text   COLLATE "C" NOT NULL,
    id         text   COLLATE "C" NOT NULL,
    version    bigint NOT NULL,
    created_at bigint NOT NULL,
    updated_at bigint NOT NULL,
    until      bigint NOT NULL,
    data       text   NOT NULL,
    PRIMARY KEY (namespace, collection, id, version)
);

-- One text of two names, which have no `/`, so that no planner takes this index for one by the names.
CREATE INDEX versions_by_end ON versions ((namespace || '/' || collection), until);
