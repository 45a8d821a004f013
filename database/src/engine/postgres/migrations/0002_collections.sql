-- What collections declare. The index of a row is named records_declared_<number>; it is ready once it is made.

CREATE TABLE collections (
    namespace text    COLLATE "C" NOT NULL,
    name      text    COLLATE "C" NOT NULL,
    scan      boolean NOT NULL,
    PRIMARY KEY (namespace, name)
);

CREATE TABLE collection_indexes (
    number     bigint  GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    namespace  text    COLLATE "C" NOT NULL,
    collection text    COLLATE "C" NOT NULL,
    name       text    NOT NULL,
    definition text    NOT NULL,
    is_ready   boolean NOT NULL DEFAULT false,
    UNIQUE (namespace, collection, name),
    FOREIGN KEY (namespace, collection) REFERENCES collections (namespace, name)
);
