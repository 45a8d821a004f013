-- Indexes of collections that are too large for CREATE INDEX, which nobody could write beside: tables of our own, named
-- as the index would be, that triggers keep and that are filled bit by bit. `filled_to` is the name of the last record
-- that was looked at.

ALTER TABLE collection_indexes ADD COLUMN form TEXT NOT NULL DEFAULT 'expression'
    CHECK (form IN ('expression', 'filling', 'table', 'emptying'));
ALTER TABLE collection_indexes ADD COLUMN filled_to TEXT NOT NULL DEFAULT '';
