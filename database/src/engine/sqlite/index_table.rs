//! Indexes that are made while others write: tables of our own, filled in small steps.
//!
//! `CREATE INDEX` reads every row of `records` within one write, and no one else writes meanwhile. So where there is more
//! than a moment's work, an index is a table with the columns' values and the record's number beside each record's
//! name. Triggers keep it from its first moment; what was there before is added from name to name, some each time the
//! writer commits ([`advance`]), and the place that was reached is kept in the same commit, so that a process that
//! starts again goes on from there. Nothing is asked of the table until it is full. One that is not wanted any more
//! loses its triggers at once and its rows in the same small steps.

use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode, OptionalExtension, params};

use super::declared::{Form, columns, expression, of_collection, sql_name};
use super::words::read_word;
use crate::Error;
use crate::find::Index;

/// With more records than this in the database, an index is a table: to read so many takes a few milliseconds.
pub(super) const LARGE: i64 = 2000;

/// How long one step works; everybody who writes meanwhile waits for it.
pub(super) const STEP: Duration = Duration::from_millis(3);

/// How many records are looked at between two looks at the time; each may have a document of 1 MiB.
const BITE: i64 = 16;

const IS_LARGE: &str = "SELECT count(*) > ?1 FROM (SELECT 1 FROM records LIMIT ?1 + 1)";
const UNFINISHED: &str = "SELECT i.number, c.namespace, c.name, i.definition, i.form, i.filled_to \
    FROM collection_indexes i JOIN collections c ON c.number = i.collection \
    WHERE i.form IN ('filling', 'emptying') ORDER BY i.number LIMIT 1";
const REACHED: &str = "UPDATE collection_indexes SET filled_to = ?2 WHERE number = ?1";
const FULL: &str = "UPDATE collection_indexes SET form = 'table', filled_to = '' WHERE number = ?1";
/// The name is given up, so that the same index can be declared again at once.
const ABANDON: &str =
    "UPDATE collection_indexes SET form = 'emptying', name = 'abandoned ' || number WHERE number = ?1";
const FORGET: &str = "DELETE FROM collection_indexes WHERE number = ?1";
const FORM: &str = "SELECT form = 'table' FROM collection_indexes WHERE number = ?1";

/// The triggers of a table, by what ends their names.
const TRIGGERS: [&str; 5] = ["insert", "update", "enter", "leave", "delete"];

/// What a step did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// There is nothing to do.
    Idle,
    /// There is more to do of this one.
    Goes,
    /// An index was finished or given up, so that something else is declared now.
    Turned,
}

/// Tells whether an index of what is there would take longer than a commit may.
pub(super) fn is_large(connection: &Connection) -> rusqlite::Result<bool> {
    connection.prepare_cached(IS_LARGE)?.query_row([LARGE], |row| row.get(0))
}

/// Tells whether an index is one whose table is whole, as the connection sees it now.
pub(super) fn is_full(connection: &Connection, number: i64) -> rusqlite::Result<bool> {
    let found = connection.prepare_cached(FORM)?.query_row([number], |row| row.get(0)).optional()?;
    Ok(found.unwrap_or(false))
}

/// Makes an index's table, empty, with what keeps it from now on.
pub(super) fn create(
    connection: &Connection,
    number: i64,
    namespace: &str,
    collection: &str,
    index: &Index,
) -> rusqlite::Result<()> {
    let table = sql_name(number);
    let names: Vec<String> = (0..index.columns.len()).map(column).collect();
    let unique = if index.unique { "UNIQUE " } else { "" };
    let ordered = columns(index, &names, "name");
    let declared: Vec<String> = names.iter().map(|name| format!("{name} ANY")).collect();
    let member = |row: &str| of_collection(row, namespace, collection);
    let (new, old) = (member("new."), member("old."));
    let place = place(&table, index, &names);
    let leave = format!("DELETE FROM {table} WHERE record = old.number;");
    let bodies = [
        format!("AFTER INSERT ON records WHEN {new} BEGIN {place} END"),
        format!("AFTER UPDATE OF data, updated_at ON records WHEN {new} AND {old} BEGIN {place} END"),
        format!("AFTER UPDATE OF collection ON records WHEN {new} AND NOT ({old}) BEGIN {place} END"),
        format!("AFTER UPDATE OF collection ON records WHEN {old} AND NOT ({new}) BEGIN {leave} END"),
        format!("AFTER DELETE ON records WHEN {old} BEGIN {leave} END"),
    ];
    let triggers = TRIGGERS.iter().zip(bodies);
    let triggers: Vec<String> =
        triggers.map(|(event, body)| format!("CREATE TRIGGER {table}_{event} {body};")).collect();
    connection.execute_batch(&format!(
        "CREATE TABLE {table} (record INTEGER PRIMARY KEY, {}, name TEXT NOT NULL) STRICT; \
         CREATE {unique}INDEX {} ON {table} ({ordered}); {}",
        declared.join(", "),
        order_name(number),
        triggers.concat(),
    ))
}

/// Gives the name of a column of a table.
pub(super) fn column(place: usize) -> String {
    format!("column_{place}")
}

/// Gives the name of the order a table is walked in.
pub(super) fn order_name(number: i64) -> String {
    format!("{}_order", sql_name(number))
}

/// Writes what a trigger does for the row `new`; a row that is there already is written only if it changes.
fn place(table: &str, index: &Index, names: &[String]) -> String {
    let values: Vec<String> = index.columns.iter().map(|column| expression("new.", column)).collect();
    let set: Vec<String> = names.iter().map(|name| format!("{name} = excluded.{name}")).collect();
    let differs: Vec<String> = names.iter().map(|name| format!("{name} IS NOT excluded.{name}")).collect();
    format!(
        "INSERT INTO {table} (record, {}, name) VALUES (new.number, {}, new.id) \
         ON CONFLICT (record) DO UPDATE SET {} WHERE {};",
        names.join(", "),
        values.join(", "),
        set.join(", "),
        differs.join(" OR "),
    )
}

/// Gives an index up: nothing keeps its table any more, and the next steps empty it.
pub(super) fn abandon(connection: &Connection, number: i64) -> rusqlite::Result<()> {
    let table = sql_name(number);
    for event in TRIGGERS {
        connection.execute_batch(&format!("DROP TRIGGER {table}_{event}"))?;
    }
    connection.prepare_cached(ABANDON)?.execute([number]).map(drop)
}

/// An index that is not what it is to become.
struct Unfinished {
    number: i64,
    namespace: String,
    collection: String,
    definition: String,
    form: Form,
    filled_to: String,
}

/// Tells whether an index is being filled or emptied.
pub(super) fn is_any(connection: &Connection) -> rusqlite::Result<bool> {
    connection.prepare_cached(UNFINISHED)?.exists(())
}

/// Does the next step of the oldest index that is being filled or emptied, if there is one.
pub(super) fn advance(connection: &Connection) -> Result<Step, Error> {
    let mut statement = connection.prepare_cached(UNFINISHED)?;
    let found = statement.query_row((), |row| {
        let (number, namespace, collection, definition) =
            (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?);
        let (form, filled_to) = (read_word(row, 4, Form::from_stored)?, row.get(5)?);
        Ok(Unfinished { number, namespace, collection, definition, form, filled_to })
    });
    let Some(unfinished) = found.optional()? else { return Ok(Step::Idle) };
    match unfinished.form {
        Form::Emptying => empty(connection, unfinished.number),
        _ => fill(connection, &unfinished),
    }
}

fn fill(connection: &Connection, unfinished: &Unfinished) -> Result<Step, Error> {
    let Unfinished { number, namespace, collection, definition, filled_to, .. } = unfinished;
    let index: Index =
        serde_json::from_str(definition).map_err(|error| Error::Storage { reason: error.to_string() })?;
    let members = of_collection("", namespace, collection);
    let by_name = format!("FROM records INDEXED BY sqlite_autoindex_records_1 WHERE {members} AND id > ?1");
    let end = format!("SELECT max(id) FROM (SELECT id {by_name} ORDER BY id LIMIT {BITE})");
    let values: Vec<String> = index.columns.iter().map(|column| expression("", column)).collect();
    let table = sql_name(*number);
    // What was written since is there already.
    let add = format!(
        "INSERT INTO {table} SELECT number, {}, id {by_name} AND id <= ?2 \
         AND NOT EXISTS (SELECT 1 FROM {table} WHERE record = number)",
        values.join(", ")
    );
    let (mut end, mut add) = (connection.prepare_cached(&end)?, connection.prepare_cached(&add)?);
    let (began, mut reached) = (Instant::now(), filled_to.clone());
    while began.elapsed() < STEP {
        let Some(to) = end.query_row([&reached], |row| row.get::<_, Option<String>>(0))? else {
            connection.prepare_cached(FULL)?.execute([number])?;
            tracing::info!(namespace, collection, index = index.name(), "an index was made");
            return Ok(Step::Turned);
        };
        match add.execute(params![reached, to]) {
            Ok(_) => reached = to,
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => {
                tracing::warn!(namespace, collection, index = index.name(), "an index was given up");
                abandon(connection, *number)?;
                return Ok(Step::Turned);
            }
            Err(error) => return Err(error.into()),
        }
    }
    connection.prepare_cached(REACHED)?.execute(params![number, reached])?;
    Ok(Step::Goes)
}

fn empty(connection: &Connection, number: i64) -> Result<Step, Error> {
    let table = sql_name(number);
    let remove =
        format!("DELETE FROM {table} WHERE record IN (SELECT record FROM {table} ORDER BY record LIMIT ?1)");
    let mut remove = connection.prepare_cached(&remove)?;
    let began = Instant::now();
    while began.elapsed() < STEP {
        if remove.execute([BITE])? == 0 {
            drop(remove);
            connection.execute_batch(&format!("DROP TABLE {table}"))?;
            connection.prepare_cached(FORGET)?.execute([number])?;
            tracing::info!(index = number, "an index was dropped");
            return Ok(Step::Turned);
        }
    }
    Ok(Step::Goes)
}
