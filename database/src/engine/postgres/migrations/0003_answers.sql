-- What was answered to transactions that are to happen once.

CREATE TABLE answers (
    namespace   text        COLLATE "C" NOT NULL,
    key         text        COLLATE "C" NOT NULL,
    fingerprint text        NOT NULL,
    committed   text        NOT NULL,
    expires_at  timestamptz NOT NULL,
    PRIMARY KEY (namespace, key)
);

CREATE INDEX answers_by_expiry ON answers (expires_at);
