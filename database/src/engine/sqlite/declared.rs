//! Declared indexes as SQLite's: partial ones over expressions of the data, one collection's rows each.
//!
//! The names of namespace, collection and fields are written into these statements, because an index holds only
//! for a query that says the same; they are letters, digits, `_`, `-` and `.` (`limits::is_name`, [`Field`]),
//! and nothing that a client sends is among them.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use rusqlite::{Connection, ErrorCode, OptionalExtension, params};

use crate::find::{Column, Declaration, Field, Index, Kind};
use crate::{Error, limits};

const FIND_COLLECTION: &str = "SELECT number FROM collections WHERE namespace = ?1 AND name = ?2";
const NOTE_COLLECTION: &str = "INSERT INTO collections \
    (namespace, name, scan, history, history_age) VALUES (?1, ?2, ?3, ?4, ?5) \
    ON CONFLICT (namespace, name) DO UPDATE SET \
    scan = excluded.scan, history = excluded.history, history_age = excluded.history_age \
    WHERE scan <> excluded.scan OR history <> excluded.history OR history_age IS NOT excluded.history_age";
const FIND_INDEX: &str = "SELECT number FROM collection_indexes WHERE collection = ?1 AND name = ?2";
const NOTE_INDEX: &str = "INSERT INTO collection_indexes (collection, name, definition) VALUES (?1, ?2, ?3)";
const FORGET_INDEX: &str = "DELETE FROM collection_indexes WHERE number = ?1";
const DEFINITION: &str = "SELECT definition FROM collection_indexes WHERE number = ?1";
const COLLECTIONS: &str = "SELECT namespace, name FROM collections";
const SETTINGS: &str =
    "SELECT scan, history, history_age FROM collections WHERE namespace = ?1 AND name = ?2";
const INDEXES: &str = "SELECT i.number, i.definition FROM collections c \
    JOIN collection_indexes i ON i.collection = c.number \
    WHERE c.namespace = ?1 AND c.name = ?2 ORDER BY i.number";

/// What the names of all declared indexes begin with.
const PREFIX: &str = "records_declared_";

/// What is declared of every collection, as of the latest declaration that is durable.
#[derive(Debug, Default)]
pub(super) struct Declarations(RwLock<HashMap<(String, String), Arc<Declared>>>);

/// What is declared of one collection.
#[derive(Debug, Default)]
pub(super) struct Declared {
    /// Its indexes, the oldest first.
    pub(super) indexes: Vec<Index>,
    /// The number of each.
    pub(super) numbers: Vec<i64>,
    /// Whether filters may ask about fields that no index has.
    pub(super) scan: bool,
    /// How many earlier versions of each record are kept, and how long, in microseconds.
    pub(super) history: u32,
    pub(super) history_age: Option<i64>,
}

impl Declarations {
    /// Reads all there are.
    pub(super) fn load(connection: &Connection) -> rusqlite::Result<Self> {
        let mut all = HashMap::new();
        let mut collections = connection.prepare(COLLECTIONS)?;
        for named in collections.query_map((), |row| Ok((row.get(0)?, row.get(1)?)))? {
            let (namespace, collection): (String, String) = named?;
            let declared = read(connection, &namespace, &collection)?;
            all.insert((namespace, collection), Arc::new(declared));
        }
        Ok(Self(RwLock::new(all)))
    }

    /// Gives what a collection declared; nothing when it did not.
    pub(super) fn get(&self, namespace: &str, collection: &str) -> Arc<Declared> {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        all.get(&(namespace.to_owned(), collection.to_owned())).cloned().unwrap_or_default()
    }

    /// Notes what a collection declares now.
    pub(super) fn note(&self, namespace: String, collection: String, declared: Declared) {
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        all.insert((namespace, collection), Arc::new(declared));
    }
}

/// Reads what a collection declares.
pub(super) fn load(connection: &Connection, namespace: &str, collection: &str) -> Result<Declared, Error> {
    Ok(read(connection, namespace, collection)?)
}

fn read(connection: &Connection, namespace: &str, collection: &str) -> rusqlite::Result<Declared> {
    let mut statement = connection.prepare_cached(SETTINGS)?;
    let settings = statement.query_row([namespace, collection], |row| {
        let (scan, history, history_age) = (row.get(0)?, row.get(1)?, row.get(2)?);
        Ok(Declared { scan, history, history_age, ..Declared::default() })
    });
    let mut declared = settings.optional()?.unwrap_or_default();
    let mut indexes = connection.prepare_cached(INDEXES)?;
    let mut rows = indexes.query([namespace, collection])?;
    while let Some(row) = rows.next()? {
        declared.numbers.push(row.get(0)?);
        declared.indexes.push(parse(row.get_ref(1)?.as_str()?)?);
    }
    Ok(declared)
}

/// Makes what is declared and not there, within the writer's present savepoint.
///
/// A new index reads all records of the collection; the writes of others wait for it.
pub(super) fn declare(
    connection: &Connection,
    namespace: &str,
    declaration: &Declaration,
) -> Result<(), Error> {
    let collection = &declaration.collection;
    let settings =
        params![namespace, collection, declaration.scan, declaration.history, declaration.history_age()];
    connection.prepare_cached(NOTE_COLLECTION)?.execute(settings)?;
    let number: i64 =
        connection.prepare_cached(FIND_COLLECTION)?.query_row([namespace, collection], |row| row.get(0))?;
    for index in &declaration.dropped {
        if let Some(existing) = find(connection, number, index)? {
            connection.execute_batch(&format!("DROP INDEX {}", sql_name(existing)))?;
            connection.prepare_cached(FORGET_INDEX)?.execute([existing])?;
            tracing::info!(namespace, collection, index = index.name(), "an index was dropped");
        }
    }
    for index in &declaration.indexes {
        if find(connection, number, index)?.is_some() {
            continue;
        }
        let definition =
            serde_json::to_string(index).map_err(|error| Error::Invalid { reason: error.to_string() })?;
        let row = params![number, index.name(), definition];
        let made = connection.prepare_cached(NOTE_INDEX)?.insert(row)?;
        let done = connection.execute_batch(&create(made, namespace, collection, index));
        done.map_err(|error| match error.sqlite_error_code() {
            Some(ErrorCode::ConstraintViolation) => Error::Invalid {
                reason: format!(
                    "records of {collection} have the same {} already",
                    index.fields().join(", ")
                ),
            },
            _ => error.into(),
        })?;
        tracing::info!(namespace, collection, index = index.name(), "an index was made");
    }
    Ok(())
}

fn find(connection: &Connection, collection: i64, index: &Index) -> rusqlite::Result<Option<i64>> {
    let mut statement = connection.prepare_cached(FIND_INDEX)?;
    statement.query_row(params![collection, index.name()], |row| row.get(0)).optional()
}

/// Writes the statement that makes an index.
pub(super) fn create(number: i64, namespace: &str, collection: &str, index: &Index) -> String {
    let columns = index
        .columns
        .iter()
        .map(|column| format!("{}{}", expression(column), if column.descending { " DESC" } else { "" }));
    let mut columns: Vec<String> = columns.collect();
    if !index.unique {
        columns.push("id".to_owned());
    }
    let unique = if index.unique { "UNIQUE " } else { "" };
    let (name, columns) = (sql_name(number), columns.join(", "));
    format!(
        "CREATE {unique}INDEX {name} ON records ({columns}) WHERE {}",
        of_collection(namespace, collection)
    )
}

/// Gives the name of an index in SQL.
pub(super) fn sql_name(number: i64) -> String {
    format!("{PREFIX}{number}")
}

/// Writes which rows are a collection's, just as its indexes say it.
pub(super) fn of_collection(namespace: &str, collection: &str) -> String {
    debug_assert!(limits::is_name(namespace) && limits::is_name(collection), "checked at the door");
    format!("namespace = '{namespace}' AND collection = '{collection}'")
}

/// Writes what a column holds: the field's value if it has the column's type, and else null.
pub(super) fn expression(column: &Column) -> String {
    if column.field.is_of_record() {
        return column.field.to_string();
    }
    let path = path(&column.field);
    let found = format!("CASE json_type(data, {path})");
    match column.kind {
        Kind::Text => format!("{found} WHEN 'text' THEN data ->> {path} END"),
        Kind::Number => {
            format!("{found} WHEN 'integer' THEN data ->> {path} WHEN 'real' THEN data ->> {path} END")
        }
        Kind::Boolean => format!("{found} WHEN 'true' THEN 1 WHEN 'false' THEN 0 END"),
    }
}

fn path(field: &Field) -> String {
    let names: Vec<String> = field.names().map(|name| format!("\"{name}\"")).collect();
    format!("'$.{}'", names.join("."))
}

fn parse(definition: &str) -> rusqlite::Result<Index> {
    serde_json::from_str(definition).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(1, rusqlite::types::Type::Text, error.into())
    })
}

/// Turns the failure of a write into what it says about a unique index, if it does.
pub(super) fn explain(connection: &Connection, error: rusqlite::Error, operation: usize) -> Error {
    let number = match &error {
        rusqlite::Error::SqliteFailure(_, Some(text)) => {
            text.split_once(PREFIX).and_then(|(_, rest)| rest.trim_end_matches('\'').parse::<i64>().ok())
        }
        _ => None,
    };
    let Some(number) = number else { return error.into() };
    let definition = connection
        .prepare_cached(DEFINITION)
        .and_then(|mut statement| statement.query_row([number], |row| parse(row.get_ref(0)?.as_str()?)));
    match definition {
        Ok(index) => Error::NotUnique { operation, fields: index.fields() },
        Err(error) => error.into(),
    }
}
