//! Declared indexes as SQLite's: partial ones over expressions of the data, one collection's rows each.
//!
//! The names of namespace, collection and fields are written into these statements, because an index holds only
//! for a query that says the same; they are letters, digits, `_`, `-` and `.` (`limits::is_name`, [`Field`]),
//! and nothing that a client sends is among them. An index of many records is a table ([`super::index_table`]).

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use rusqlite::{Connection, ErrorCode, OptionalExtension, params};

use super::index_table;
use super::words::read_word;
use crate::find::{Column, Declaration, Field, Index, Kind};
use crate::{Error, limits};

const FIND_COLLECTION: &str = "SELECT number FROM collections WHERE namespace = ?1 AND name = ?2";
const NOTE_COLLECTION: &str = "INSERT INTO collections \
    (namespace, name, scan, history, history_age) VALUES (?1, ?2, ?3, ?4, ?5) \
    ON CONFLICT (namespace, name) DO UPDATE SET \
    scan = excluded.scan, history = excluded.history, history_age = excluded.history_age \
    WHERE scan <> excluded.scan OR history <> excluded.history OR history_age IS NOT excluded.history_age";
const FIND_INDEX: &str = "SELECT number, form FROM collection_indexes WHERE collection = ?1 AND name = ?2";
const NOTE_INDEX: &str =
    "INSERT INTO collection_indexes (collection, name, definition, form) VALUES (?1, ?2, ?3, ?4)";
const FORGET_INDEX: &str = "DELETE FROM collection_indexes WHERE number = ?1";
const DEFINITION: &str = "SELECT definition FROM collection_indexes WHERE number = ?1";
const COLLECTIONS: &str = "SELECT namespace, name FROM collections";
const SETTINGS: &str =
    "SELECT scan, history, history_age FROM collections WHERE namespace = ?1 AND name = ?2";
const INDEXES: &str = "SELECT i.number, i.definition, i.form FROM collections c \
    JOIN collection_indexes i ON i.collection = c.number \
    WHERE c.namespace = ?1 AND c.name = ?2 ORDER BY i.number";

/// What the names of all declared indexes begin with.
const PREFIX: &str = "records_declared_";

/// What an index is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// One of SQLite's, over expressions.
    Expression,
    /// A table that does not have all records yet.
    Filling,
    /// A table that has.
    Table,
    /// A table that is not an index any more.
    Emptying,
}

/// How a new index is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Making {
    /// At once, however long it takes: nobody else writes.
    AtOnce,
    /// So that others write meanwhile.
    Online,
}

/// What is declared of every collection, as of the latest declaration that is durable.
#[derive(Debug, Default)]
pub(super) struct Declarations(RwLock<HashMap<(String, String), Arc<Declared>>>);

/// What is declared of one collection.
#[derive(Debug, Default)]
pub(super) struct Declared {
    /// Its indexes that are whole, the oldest first.
    pub(super) indexes: Vec<Index>,
    /// The number of each, and what it is.
    pub(super) numbers: Vec<(i64, Form)>,
    /// Those that are being made.
    pub(super) filling: Vec<Index>,
    /// Whether filters may ask about fields that no index has.
    pub(super) scan: bool,
    /// How many earlier versions of each record are kept, and how long, in microseconds.
    pub(super) history: u32,
    pub(super) history_age: Option<i64>,
}

impl Declarations {
    /// Reads all there are.
    pub(super) fn load(connection: &Connection) -> rusqlite::Result<Self> {
        let all = Self::default();
        all.refresh_all(connection)?;
        Ok(all)
    }

    /// Reads all anew. Locked before it is read, so that what is older never takes the place of what is newer.
    pub(super) fn refresh_all(&self, connection: &Connection) -> rusqlite::Result<()> {
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let mut collections = connection.prepare_cached(COLLECTIONS)?;
        for named in collections.query_map((), |row| Ok((row.get(0)?, row.get(1)?)))? {
            let (namespace, collection): (String, String) = named?;
            let declared = read(connection, &namespace, &collection)?;
            all.insert((namespace, collection), Arc::new(declared));
        }
        Ok(())
    }

    /// Reads anew what a collection declares.
    pub(super) fn refresh(
        &self,
        connection: &Connection,
        namespace: &str,
        collection: &str,
    ) -> rusqlite::Result<Arc<Declared>> {
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let declared = Arc::new(read(connection, namespace, collection)?);
        all.insert((namespace.to_owned(), collection.to_owned()), Arc::clone(&declared));
        Ok(declared)
    }

    /// Gives what a collection declared; nothing when it did not.
    pub(super) fn get(&self, namespace: &str, collection: &str) -> Arc<Declared> {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        all.get(&(namespace.to_owned(), collection.to_owned())).cloned().unwrap_or_default()
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
        let (form, index) = (read_word(row, 2, Form::from_stored)?, parse(row.get_ref(1)?.as_str()?));
        match form {
            Form::Expression | Form::Table => {
                declared.numbers.push((row.get(0)?, form));
                declared.indexes.push(index?);
            }
            Form::Filling => declared.filling.push(index?),
            Form::Emptying => {}
        }
    }
    Ok(declared)
}

/// Makes what is declared and not there, or begins to, within the writer's present savepoint; gives the unique indexes that
/// were not made because the records contradict them, which is no reason to leave the rest.
pub(super) fn declare(
    connection: &Connection,
    namespace: &str,
    declaration: &Declaration,
    making: Making,
) -> Result<Vec<Index>, Error> {
    let collection = &declaration.collection;
    let settings =
        params![namespace, collection, declaration.scan, declaration.history, declaration.history_age()];
    connection.prepare_cached(NOTE_COLLECTION)?.execute(settings)?;
    let number: i64 =
        connection.prepare_cached(FIND_COLLECTION)?.query_row([namespace, collection], |row| row.get(0))?;
    for index in &declaration.dropped {
        match find(connection, number, index)? {
            None => {}
            Some((existing, Form::Expression)) => {
                connection.execute_batch(&format!("DROP INDEX {}", sql_name(existing)))?;
                connection.prepare_cached(FORGET_INDEX)?.execute([existing])?;
                tracing::info!(namespace, collection, index = index.name(), "an index was dropped");
            }
            Some((existing, _)) => index_table::abandon(connection, existing)?,
        }
    }
    let mut contradicted = Vec::new();
    for index in &declaration.indexes {
        if find(connection, number, index)?.is_some() {
            continue;
        }
        let definition =
            serde_json::to_string(index).map_err(|error| Error::Invalid { reason: error.to_string() })?;
        let is_online = making == Making::Online && index_table::is_large(connection)?;
        let form = if is_online { Form::Filling } else { Form::Expression };
        let row = params![number, index.name(), definition, form.text()];
        let made = connection.prepare_cached(NOTE_INDEX)?.insert(row)?;
        if is_online {
            index_table::create(connection, made, namespace, collection, index)?;
            tracing::info!(namespace, collection, index = index.name(), "an index is being made");
            continue;
        }
        match connection.execute_batch(&create(made, namespace, collection, index)) {
            Ok(()) => tracing::info!(namespace, collection, index = index.name(), "an index was made"),
            // SQLite has undone the statement, and that alone.
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => {
                connection.prepare_cached(FORGET_INDEX)?.execute([made])?;
                contradicted.push(index.clone());
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(contradicted)
}

fn find(connection: &Connection, collection: i64, index: &Index) -> rusqlite::Result<Option<(i64, Form)>> {
    let mut statement = connection.prepare_cached(FIND_INDEX)?;
    let found = statement.query_row(params![collection, index.name()], |row| {
        Ok((row.get(0)?, read_word(row, 1, Form::from_stored)?))
    });
    found.optional()
}

impl Form {
    /// Reads the stored word; `None` if it is none.
    pub(super) fn from_stored(word: &str) -> Option<Self> {
        let forms = [Self::Expression, Self::Filling, Self::Table, Self::Emptying];
        forms.into_iter().find(|form| form.text() == word)
    }

    fn text(self) -> &'static str {
        match self {
            Self::Expression => "expression",
            Self::Filling => "filling",
            Self::Table => "table",
            Self::Emptying => "emptying",
        }
    }
}

impl Declared {
    /// Tells whether all that a declaration asks for is there: not yet, or, with an error, not any more, because the
    /// records contradict it.
    pub(super) fn has_all(&self, declaration: &Declaration) -> Result<bool, Error> {
        let gone = declaration.indexes.iter().filter(|index| {
            let is_there = self.indexes.iter().chain(&self.filling).any(|there| there == *index);
            !is_there
        });
        match declaration.contradicted(gone) {
            Some(error) => Err(error),
            None => Ok(!declaration.indexes.iter().any(|index| self.filling.contains(index))),
        }
    }
}

/// Writes the statement that makes an index.
pub(super) fn create(number: i64, namespace: &str, collection: &str, index: &Index) -> String {
    let expressions: Vec<String> = index.columns.iter().map(|column| expression("", column)).collect();
    let unique = if index.unique { "UNIQUE " } else { "" };
    let (name, columns) = (sql_name(number), columns(index, &expressions, "id"));
    format!(
        "CREATE {unique}INDEX {name} ON records ({columns}) WHERE {}",
        of_collection("", namespace, collection)
    )
}

/// Writes the columns of an index with their directions, and at the end the record's name unless it is unique.
pub(super) fn columns(index: &Index, expressions: &[String], name: &str) -> String {
    let columns =
        index.columns.iter().zip(expressions).map(|(column, expression)| {
            format!("{expression}{}", if column.descending { " DESC" } else { "" })
        });
    let mut columns: Vec<String> = columns.collect();
    if !index.unique {
        columns.push(name.to_owned());
    }
    columns.join(", ")
}

/// Gives the name of an index in SQL.
pub(super) fn sql_name(number: i64) -> String {
    format!("{PREFIX}{number}")
}

/// Writes which rows are a collection's, just as its indexes say it; `row` is what a column's name follows.
pub(super) fn of_collection(row: &str, namespace: &str, collection: &str) -> String {
    debug_assert!(limits::is_name(namespace) && limits::is_name(collection), "checked at the door");
    format!("{row}namespace = '{namespace}' AND {row}collection = '{collection}'")
}

/// Writes what a column holds: the field's value if it has the column's type, and else null; `row` is what a
/// column's name follows.
pub(super) fn expression(row: &str, column: &Column) -> String {
    if column.field.is_of_record() {
        return format!("{row}{}", column.field);
    }
    let (path, data) = (path(&column.field), format!("{row}data"));
    let found = format!("CASE json_type({data}, {path})");
    match column.kind {
        Kind::Text => format!("{found} WHEN 'text' THEN {data} ->> {path} END"),
        Kind::Number => {
            format!("{found} WHEN 'integer' THEN {data} ->> {path} WHEN 'real' THEN {data} ->> {path} END")
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
        // Of an index `UNIQUE constraint failed: index 'records_declared_7'`, of a table `… records_declared_7.column_0`.
        rusqlite::Error::SqliteFailure(_, Some(text)) => text.split_once(PREFIX).and_then(|(_, rest)| {
            let end = rest.find(|byte: char| !byte.is_ascii_digit()).unwrap_or(rest.len());
            rest[..end].parse::<i64>().ok()
        }),
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
