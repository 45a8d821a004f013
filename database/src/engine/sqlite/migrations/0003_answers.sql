-- What was answered to transactions that are to happen once.

CREATE TABLE answers (
    number      INTEGER PRIMARY KEY,
    namespace   TEXT    NOT NULL,
    key         TEXT    NOT NULL,
    fingerprint TEXT    NOT NULL,
    committed   TEXT    NOT NULL,
    expires_at  INTEGER NOT NULL,
    UNIQUE (namespace, key)
) STRICT;

CREATE INDEX answers_by_expiry ON answers (expires_at);
