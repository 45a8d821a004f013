//! Declared indexes as PostgreSQL's: partial ones over expressions of the data, one collection's rows each.
//!
//! The names of namespace, collection and fields are written into these statements, because an index holds only
//! for a query that says the same; they are letters, digits, `_`, `-` and `.` (`limits::is_name`, [`Field`]),
//! and nothing that a client sends is among them. Indexes are made `CONCURRENTLY`, so that writes go on.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::time::Instant;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;

use super::fault::Fault;
use super::session::{Server, Session};
use crate::find::{Column, Declaration, Field, Index, Kind};
use crate::{Error, limits};

const INDEXES: &str = include_str!("sql/declared_indexes.sql");
const NOTE_COLLECTION: &str = "INSERT INTO collections \
    (namespace, name, scan, history, history_age) VALUES ($1, $2, $3, $4, $5) ON CONFLICT (namespace, name) \
    DO UPDATE SET scan = excluded.scan, history = excluded.history, history_age = excluded.history_age";
const NOTE_INDEX: &str = "INSERT INTO collection_indexes (namespace, collection, name, definition) \
    VALUES ($1, $2, $3, $4) RETURNING number";
const INDEX_IS_READY: &str = "UPDATE collection_indexes SET is_ready = true WHERE number = $1";
const FORGET_INDEX: &str = "DELETE FROM collection_indexes WHERE number = $1";
const DEFINITION: &str = "SELECT definition FROM collection_indexes WHERE number = $1";

/// Held by the one process that changes indexes; asked for again and again, because waiting for it within a
/// statement would hold up `CREATE INDEX CONCURRENTLY`, which waits for every statement.
const LOCK: &str = "SELECT pg_try_advisory_lock(1399421030, hashtext(current_schema()))";

/// How often that lock is asked for.
const LOCK_PAUSE: Duration = Duration::from_millis(50);

/// What the names of all declared indexes begin with.
const PREFIX: &str = "records_declared_";

/// How old what is known of a collection may be: another process may have declared more.
const FRESH: Duration = Duration::from_secs(5);

/// What is declared of each collection, as far as it was asked for.
#[derive(Debug, Default)]
pub(super) struct Declarations(RwLock<HashMap<(String, String), Known>>);

/// What is known of one collection, and since when.
type Known = (Instant, Arc<Declared>);

/// What is declared of one collection.
#[derive(Debug, Default)]
pub(super) struct Declared {
    /// Its indexes, the oldest first.
    pub(super) indexes: Vec<Index>,
    /// Whether filters may ask about fields that no index has.
    pub(super) scan: bool,
    /// How many earlier versions of each record are kept, and how long, in microseconds.
    pub(super) history: u32,
    pub(super) history_age: Option<i64>,
    /// The indexes' numbers, and those of indexes that are still being made.
    numbers: HashMap<String, i64>,
    unready: HashMap<String, i64>,
}

impl Declarations {
    /// Gives what a collection declared if that was read a moment ago.
    pub(super) fn fresh(&self, namespace: &str, collection: &str) -> Option<Arc<Declared>> {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let (at, declared) = all.get(&(namespace.to_owned(), collection.to_owned()))?;
        (at.elapsed() < FRESH).then(|| Arc::clone(declared))
    }

    /// Notes what a collection declares.
    pub(super) fn note(&self, namespace: &str, collection: &str, declared: Declared) -> Arc<Declared> {
        let declared = Arc::new(declared);
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let of = (namespace.to_owned(), collection.to_owned());
        all.insert(of, (Instant::now(), Arc::clone(&declared)));
        declared
    }

    /// Tells whether a collection is known to have a unique index.
    pub(super) fn has_unique(&self, namespace: &str, collection: &str) -> bool {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let known = all.get(&(namespace.to_owned(), collection.to_owned()));
        known.is_some_and(|(_, declared)| declared.indexes.iter().any(|index| index.unique))
    }
}

/// The statement that reads what a collection declares, with namespace and collection as its values.
pub(super) const LOAD: &str = INDEXES;

/// Reads what [`LOAD`] answers.
pub(super) fn read(rows: &[tokio_postgres::Row]) -> Result<Declared, Error> {
    let mut declared = Declared::default();
    for row in rows {
        let read = || {
            let scan: bool = row.try_get(0)?;
            let (history, age): (i32, Option<i64>) = (row.try_get(4)?, row.try_get(5)?);
            let index: Option<(i64, String, bool)> = match row.try_get::<_, Option<i64>>(1)? {
                Some(number) => Some((number, row.try_get(2)?, row.try_get(3)?)),
                None => None,
            };
            Ok::<_, tokio_postgres::Error>((scan, history, age, index))
        };
        let (scan, history, age, index) =
            read().map_err(|error| Error::Storage { reason: Fault::from(error).to_string() })?;
        declared.scan = scan;
        (declared.history, declared.history_age) = (u32::try_from(history).unwrap_or(0), age);
        let Some((number, definition, is_ready)) = index else { continue };
        let index: Index = serde_json::from_str(&definition)
            .map_err(|error| Error::Storage { reason: format!("a declared index: {error}") })?;
        match is_ready {
            true => {
                declared.numbers.insert(index.name(), number);
                declared.indexes.push(index);
            }
            false => {
                declared.unready.insert(index.name(), number);
            }
        }
    }
    Ok(declared)
}

/// Names the fields of the unique index that a write broke.
pub(super) async fn broken_fields(session: &Session, constraint: Option<&str>) -> Option<Vec<String>> {
    let number: i64 = constraint?.strip_prefix(PREFIX)?.parse().ok()?;
    let row = session.query_one(DEFINITION, &[&number]).await.ok()?;
    let index: Index = serde_json::from_str(row.try_get(0).ok()?).ok()?;
    Some(index.fields())
}

impl Declared {
    /// Tells whether a declaration asks for nothing that is not so already.
    pub(super) fn holds(&self, declaration: &Declaration) -> bool {
        (self.scan, self.history) == (declaration.scan, declaration.history)
            && self.history_age == declaration.history_age()
            && declaration.indexes.iter().all(|index| self.numbers.contains_key(&index.name()))
            && !declaration.dropped.iter().any(|index| self.has(&index.name()))
    }

    fn has(&self, name: &str) -> bool {
        self.numbers.contains_key(name) || self.unready.contains_key(name)
    }
}

/// Makes what is declared and not there, on a connection of its own without deadlines; gives what is declared now, and what
/// was not made because the records contradict it, which is no reason to leave the rest.
pub(super) async fn declare(
    server: &Server,
    namespace: &str,
    declaration: &Declaration,
) -> Result<(Declared, Option<Error>), Error> {
    let session = server.connect(&[], None).await.map_err(|fault| fault.answer())?;
    session.run("SET statement_timeout = 0; SET lock_timeout = 0").await.map_err(answer)?;
    // How much is kept must not wait for indexes, which may take others hours.
    let collection = &declaration.collection;
    let history = i32::try_from(declaration.history).unwrap_or(i32::MAX);
    let settings: [&(dyn ToSql + Sync); 5] =
        [&namespace, collection, &declaration.scan, &history, &declaration.history_age()];
    session.execute(NOTE_COLLECTION, &settings).await.map_err(answer)?;
    while !session.query_one(LOCK, &[]).await.map_err(answer)?.get::<_, bool>(0) {
        tokio::time::sleep(LOCK_PAUSE).await;
    }
    // The lock goes with the connection.
    let load = async || read(&session.query(LOAD, &[&namespace, collection]).await.map_err(answer)?);
    let there = load().await?;
    for (name, number) in there.numbers.iter().chain(&there.unready) {
        let is_dropped = declaration.dropped.iter().any(|dropped| dropped.name() == *name);
        // One that is not ready was left by a process that died over it.
        if is_dropped || there.unready.contains_key(name) {
            drop_index(&session, *number).await?;
        }
    }
    let mut contradicted = Vec::new();
    for index in &declaration.indexes {
        if !there.numbers.contains_key(&index.name())
            && !make_index(&session, namespace, collection, index).await?
        {
            contradicted.push(index);
        }
    }
    Ok((load().await?, declaration.contradicted(contradicted)))
}

/// Makes an index; tells whether the records allow it.
async fn make_index(
    session: &Session,
    namespace: &str,
    collection: &str,
    index: &Index,
) -> Result<bool, Error> {
    let definition =
        serde_json::to_string(index).map_err(|error| Error::Invalid { reason: error.to_string() })?;
    let name = index.name();
    let noted = session.query_one(NOTE_INDEX, &[&namespace, &collection, &name, &definition]).await;
    let number: i64 = noted.map_err(answer)?.get(0);
    if let Err(error) = session.run(&create(number, namespace, collection, index)).await {
        drop_index(session, number).await?;
        return match error.code() {
            Some(&SqlState::UNIQUE_VIOLATION) => Ok(false),
            _ => Err(answer(error)),
        };
    }
    session.execute(INDEX_IS_READY, &[&number]).await.map_err(answer)?;
    tracing::info!(namespace, collection, index = index.name(), "an index was made");
    Ok(true)
}

async fn drop_index(session: &Session, number: i64) -> Result<(), Error> {
    let sql = format!("DROP INDEX CONCURRENTLY IF EXISTS {PREFIX}{number}");
    session.run(&sql).await.map_err(answer)?;
    session.execute(FORGET_INDEX, &[&number]).await.map_err(answer)?;
    tracing::info!(index = number, "an index was dropped");
    Ok(())
}

fn answer(error: tokio_postgres::Error) -> Error {
    let fault = Fault::from(error);
    tracing::warn!(reason = %fault, "a declaration failed");
    fault.answer()
}

/// Writes the statement that makes an index. Null comes before everything, unlike by default.
fn create(number: i64, namespace: &str, collection: &str, index: &Index) -> String {
    let columns =
        index.columns.iter().map(|column| format!("({}) {}", expression(column), order(column.descending)));
    let mut columns: Vec<String> = columns.collect();
    if !index.unique {
        columns.push("id".to_owned());
    }
    let unique = if index.unique { "UNIQUE " } else { "" };
    format!(
        "CREATE {unique}INDEX CONCURRENTLY {PREFIX}{number} ON records ({}) WHERE {}",
        columns.join(", "),
        of_collection(namespace, collection)
    )
}

/// Writes a direction in which null is the least.
pub(super) fn order(descending: bool) -> &'static str {
    if descending { "DESC NULLS LAST" } else { "ASC NULLS FIRST" }
}

/// Writes which rows are a collection's, just as its indexes say it.
pub(super) fn of_collection(namespace: &str, collection: &str) -> String {
    debug_assert!(limits::is_name(namespace) && limits::is_name(collection), "checked at the door");
    format!("namespace = '{namespace}' AND collection = '{collection}'")
}

/// Writes what a column holds: the field's value if it has the column's type, and else null.
pub(super) fn expression(column: &Column) -> String {
    if column.field.is_of_record() {
        return format!("{}::numeric", column.field);
    }
    let found = path(&column.field);
    match column.kind {
        Kind::Text => format!(
            "CASE WHEN jsonb_typeof(data #> {found}) = 'string' THEN data #>> {found} END COLLATE \"C\""
        ),
        Kind::Number => {
            format!("CASE WHEN jsonb_typeof(data #> {found}) = 'number' THEN (data #> {found})::numeric END")
        }
        Kind::Boolean => {
            format!("CASE WHEN jsonb_typeof(data #> {found}) = 'boolean' THEN (data #> {found})::boolean END")
        }
    }
}

fn path(field: &Field) -> String {
    let names: Vec<String> = field.names().map(|name| format!("\"{name}\"")).collect();
    format!("'{{{}}}'::text[]", names.join(","))
}
