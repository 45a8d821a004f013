-- For a list of three values or more behind IN, SQLite fills a table in memory, for each row that is written. Which
-- values are valid stays as it was; only how that is asked is another (https://www.sqlite.org/lang_altertable.html,
-- "changing CHECK constraints").

PRAGMA writable_schema = ON;
UPDATE sqlite_schema SET sql = replace(sql, 'kind IN (''create'', ''update'', ''delete'')',
    'kind = ''create'' OR kind = ''update'' OR kind = ''delete''') WHERE type = 'table' AND name = 'changes';
UPDATE sqlite_schema SET sql = replace(sql, 'state IN (''waiting'', ''leased'', ''succeeded'', ''dead'', ''canceled'')',
    'state = ''waiting'' OR state = ''leased'' OR state = ''succeeded'' OR state = ''dead'' OR state = ''canceled''')
    WHERE type = 'table' AND name = 'jobs';
PRAGMA writable_schema = RESET;

DROP INDEX jobs_ended;
CREATE INDEX jobs_ended ON jobs (state, updated_at) WHERE state <> 'waiting' AND state <> 'leased';
