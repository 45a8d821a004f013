//! The statements of hot paths find their rows through an index, however many there are.

use rusqlite::{Connection, ToSql};

use super::{answers, changes, counts, job_moves, job_rows, records, sample, schema, trim, versions};

/// Gives SQLite's plan of a statement, one line a step.
fn plan(connection: &Connection, sql: &str) -> String {
    let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
    // No plan depends on a value here; every parameter only needs one.
    let values = vec![&1_i64 as &dyn ToSql; statement.parameter_count()];
    let steps = statement.query_map(values.as_slice(), |row| row.get::<_, String>(3)).unwrap();
    steps.map(Result::unwrap).collect::<Vec<_>>().join("\n")
}

/// The statements of hot paths, and what each finds its rows by.
fn hot() -> Vec<(&'static str, &'static str)> {
    vec![
        (records::FIND, "INDEX sqlite_autoindex_records_1"),
        (records::DATA, "INTEGER PRIMARY KEY"),
        (records::UPDATE, "INTEGER PRIMARY KEY"),
        (records::DELETE, "INTEGER PRIMARY KEY"),
        (records::GET, "INDEX sqlite_autoindex_records_1"),
        (records::LIST, "INDEX sqlite_autoindex_records_1"),
        (records::MOVE, "INTEGER PRIMARY KEY"),
        (versions::KEEP, "INTEGER PRIMARY KEY"),
        (versions::CUT, "INDEX sqlite_autoindex_versions_1"),
        (versions::REMOVE, "INDEX sqlite_autoindex_versions_1"),
        (versions::MOVE, "INDEX sqlite_autoindex_versions_1"),
        (versions::TRIM, "INDEX versions_by_end"),
        (versions::REWRITE, "INDEX sqlite_autoindex_versions_1"),
        (versions::LIST, "INDEX sqlite_autoindex_versions_1"),
        (counts::FIND, "PRIMARY KEY"),
        (sample::INDEXED, "COVERING INDEX records_sampled"),
        (sample::RECORD, "INTEGER PRIMARY KEY"),
        (answers::FIND, "INDEX sqlite_autoindex_answers_1"),
        (answers::FORGET, "INDEX answers_by_expiry"),
        (changes::CHANGES, "INTEGER PRIMARY KEY"),
        (changes::CHANGES_OF_NAMESPACE, "INDEX changes_by_namespace"),
        (changes::LATEST, "INDEX changes_by_namespace"),
        (changes::GONE, "USING PRIMARY KEY"),
        (trim::REMOVE, "INTEGER PRIMARY KEY"),
        (trim::REMOVE_JOBS, "INDEX jobs_ended"),
        (trim::NTH_JOB, "INDEX jobs_ended"),
        (trim::FIRST_JOB, "INDEX jobs_ended"),
        (job_rows::GET, "INDEX sqlite_autoindex_jobs_1"),
        (job_rows::UPDATE, "INDEX sqlite_autoindex_jobs_1"),
        (job_moves::CLAIMABLE, "INDEX jobs_waiting"),
        (job_moves::NEXT_DUE, "INDEX jobs_waiting"),
        (job_moves::EXPIRED, "INDEX jobs_leased"),
    ]
}

#[test]
fn no_hot_statement_scans_or_sorts() {
    let mut connection = Connection::open_in_memory().unwrap();
    schema::migrate(&mut connection).unwrap();
    for (sql, expected) in hot() {
        let plan = plan(&connection, sql);
        assert!(plan.contains("SEARCH") && plan.contains(expected), "{sql}\n{plan}");
        assert!(!plan.contains("SCAN") && !plan.contains("TEMP B-TREE"), "{sql}\n{plan}");
    }
}

#[test]
fn no_write_builds_a_table_of_its_own() {
    let mut connection = Connection::open_in_memory().unwrap();
    schema::migrate(&mut connection).unwrap();
    let writes =
        [changes::APPEND, records::INSERT, records::UPDATE, counts::ADD, job_rows::INSERT, job_rows::UPDATE];
    for sql in writes {
        let mut statement = connection.prepare(&format!("EXPLAIN {sql}")).unwrap();
        let values = vec![&1_i64 as &dyn ToSql; statement.parameter_count()];
        let codes = statement.query_map(values.as_slice(), |row| row.get::<_, String>(1)).unwrap();
        assert!(!codes.map(Result::unwrap).any(|code| code == "OpenEphemeral"), "{sql}");
    }
}

#[test]
fn a_sample_of_a_small_collection_reads_names_alone() {
    let mut connection = Connection::open_in_memory().unwrap();
    schema::migrate(&mut connection).unwrap();
    let plan = plan(&connection, sample::NAMED);
    assert!(plan.contains("SEARCH records USING COVERING INDEX sqlite_autoindex_records_1"), "{plan}");
}

#[test]
fn the_marks_of_trimmed_changes_read_only_those_that_go() {
    let mut connection = Connection::open_in_memory().unwrap();
    schema::migrate(&mut connection).unwrap();
    let plan = plan(&connection, trim::MARK);
    assert!(plan.contains("SEARCH changes USING INTEGER PRIMARY KEY (rowid<?)"), "{plan}");
}

#[test]
fn the_figures_of_queues_read_only_partial_indexes() {
    let mut connection = Connection::open_in_memory().unwrap();
    schema::migrate(&mut connection).unwrap();
    // SQLite calls the walk along an index in order a scan; it stops at the first row.
    let statements = [
        (job_moves::NEXT_EXPIRY, "COVERING INDEX jobs_leased"),
        (job_rows::FIGURES_WAITING, "COVERING INDEX jobs_waiting"),
        (job_rows::FIGURES_LEASED, "COVERING INDEX jobs_leased"),
        (job_rows::FIGURES_DEAD, "COVERING INDEX jobs_dead"),
    ];
    for (sql, expected) in statements {
        let plan = plan(&connection, sql);
        assert!(plan.contains(expected), "{sql}\n{plan}");
    }
}

/// Fills all tables, with nearly everything of one collection, one namespace and one queue, and takes statistics.
fn analyzed(rows: u32) -> Connection {
    let mut connection = Connection::open_in_memory().unwrap();
    schema::migrate(&mut connection).unwrap();
    let fill = |insert: &str| {
        let numbers =
            "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < ?1)";
        connection.execute(&format!("{numbers} {insert} FROM numbers"), [rows]).unwrap();
    };
    fill(
        "INSERT INTO records (namespace, collection, id, version, created_at, updated_at, data) \
         SELECT 'shop', iif(n % 500, 'things', 'others'), n, n, n, n, '{}'",
    );
    fill(
        "INSERT INTO changes (namespace, collection, id, kind, at) \
         SELECT iif(n % 500, 'shop', 'quiet'), 'things', n, 'create', n",
    );
    fill(
        "INSERT INTO versions (namespace, collection, id, version, created_at, updated_at, until, data) \
         SELECT 'shop', 'things', n / 20, n, n, n, n, '{}'",
    );
    fill(
        "INSERT INTO answers (namespace, key, fingerprint, committed, expires_at) SELECT 'shop', n, '', '', n",
    );
    fill(
        "INSERT INTO jobs (id, namespace, queue, kind, state, attempt, max_attempts, payload, lease_token, \
         lease_until, run_at, created_at, updated_at) SELECT n, 'shop', iif(n % 500, 'mail', 'rare'), 'send', \
         iif(n % 100, 'succeeded', iif(n % 200, 'waiting', 'leased')), 1, 1, '{}', 1, n, n, n, n",
    );
    connection.execute_batch("ANALYZE").unwrap();
    connection
}

#[test]
fn statistics_taken_while_tables_were_small_have_statements_read_whole_ones_and_are_forgotten() {
    let mut connection = analyzed(2);
    let scanning = |connection: &Connection| {
        hot().into_iter().filter(|(sql, _)| plan(connection, sql).contains("SCAN")).count()
    };
    assert!(scanning(&connection) >= 5, "statistics do no harm any more, so they could be taken");
    schema::migrate(&mut connection).unwrap();
    assert_eq!(scanning(&connection), 0);
}
