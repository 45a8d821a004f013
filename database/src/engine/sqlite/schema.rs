//! The schema and its steps: forward only, each in a transaction of its own.

use rusqlite::{Connection, TransactionBehavior};

use crate::engine::OpenError;

/// The steps in order; a released one is never changed, only followed by another.
const STEPS: [&str; 8] = [
    include_str!("migrations/0001_initial.sql"),
    include_str!("migrations/0002_collections.sql"),
    include_str!("migrations/0003_answers.sql"),
    include_str!("migrations/0004_versions.sql"),
    include_str!("migrations/0005_index_tables.sql"),
    include_str!("migrations/0006_counts.sql"),
    include_str!("migrations/0007_retention.sql"),
    include_str!("migrations/0008_checks.sql"),
];

/// The version of the schema this program reads and writes.
pub(crate) const VERSION: u32 = STEPS.len() as u32;

/// Marks a file as ours (`PRAGMA application_id`): the letters "Sixf".
pub(crate) const APPLICATION_ID: i32 = 0x5369_7866;

/// Brings a database up to this program's schema, or refuses a newer one or a foreign file.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), OpenError> {
    let found = check(connection)?;
    for (version, sql) in (1..=VERSION).zip(STEPS).skip(found as usize) {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute_batch(sql)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", version)?;
        transaction.commit()?;
        tracing::info!(version, "the database's schema was brought up");
    }
    Ok(forget_statistics(connection)?)
}

/// Forgets what the planner was told of the tables. The engine never has them counted: each statement finds its rows by the one index
/// that was made for it, and what another tool took while tables were small would have some read whole ones
/// (`plan_tests`, `bench/results/space.md`).
fn forget_statistics(connection: &Connection) -> rusqlite::Result<()> {
    for table in ["sqlite_stat1", "sqlite_stat4"] {
        if connection.table_exists(None, table)? {
            // Those in memory go with the second statement.
            connection.execute_batch(&format!("DROP TABLE {table}; ANALYZE sqlite_schema"))?;
            tracing::info!(table, "statistics that another tool took were removed");
        }
    }
    Ok(())
}

/// Writes the version that is there once more: a page for the log, and no change.
pub(super) fn write_again(connection: &Connection) -> Result<(), crate::Error> {
    Ok(connection.pragma_update(None, "user_version", VERSION)?)
}

/// Reads which version of the schema a database has; 0 when it is empty.
pub(crate) fn check(connection: &Connection) -> Result<u32, OpenError> {
    let found: u32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let application: i32 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let tables: u32 = connection.query_row("SELECT count(*) FROM sqlite_schema", (), |row| row.get(0))?;
    if application != APPLICATION_ID && (tables > 0 || application != 0) {
        return Err(OpenError::Foreign);
    }
    if found > VERSION {
        return Err(OpenError::TooNew { found, known: VERSION });
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_database_is_brought_up_once() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection).unwrap();
        migrate(&mut connection).unwrap();
        assert_eq!(check(&connection).unwrap(), VERSION);
    }

    #[test]
    fn a_change_and_a_job_are_of_a_known_kind_as_before_their_checks_were_asked_otherwise() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection).unwrap();
        let change = "INSERT INTO changes (namespace, collection, id, kind, at) VALUES ('', '', '', ?1, 0)";
        let job = "INSERT INTO jobs (id, namespace, queue, kind, state, attempt, max_attempts, payload, lease_token, \
            run_at, created_at, updated_at) VALUES (?1, '', '', '', ?1, 0, 1, '', 0, 0, 0, 0)";
        for (sql, valid) in [
            (change, &["create", "update", "delete"][..]),
            (job, &["waiting", "leased", "succeeded", "dead", "canceled"]),
        ] {
            for kind in valid {
                connection.execute(sql, [kind]).unwrap();
            }
            let error = connection.execute(sql, ["other"]).unwrap_err();
            assert!(error.to_string().contains("CHECK constraint failed"), "{error}");
        }
        let found: String = connection.query_row("PRAGMA integrity_check", (), |row| row.get(0)).unwrap();
        assert_eq!(found, "ok");
    }

    #[test]
    fn a_newer_schema_and_a_foreign_file_are_refused() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection).unwrap();
        connection.pragma_update(None, "user_version", VERSION + 1).unwrap();
        assert!(matches!(migrate(&mut connection), Err(OpenError::TooNew { .. })));
        let mut connection = Connection::open_in_memory().unwrap();
        connection.execute_batch("CREATE TABLE other (id)").unwrap();
        assert!(matches!(migrate(&mut connection), Err(OpenError::Foreign)));
    }
}
