//! Whether a database file is whole, and what it holds: structure by SQLite, content by a digest.

use std::path::Path;

use aws_lc_rs::digest::{Context, SHA256};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};

use super::object::{Digest, hex};
use crate::backup::{BackupError, damaged};

/// Opens a file that nobody writes, only to read it.
pub(super) fn open(file: &Path) -> Result<Connection, BackupError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(file, flags).map_err(|error| damaged(file, error))
}

/// Has SQLite check the structure of a file that nobody writes: its pages, its indexes, its foreign keys. Gives how
/// many pages it has and their size.
pub(super) fn structure(file: &Path) -> Result<(u32, u32), BackupError> {
    structure_of(&open(file)?, file)
}

/// Checks the structure of a file that is open.
pub(super) fn structure_of(connection: &Connection, file: &Path) -> Result<(u32, u32), BackupError> {
    let found: String = connection
        .pragma_query_value(None, "integrity_check", |row| row.get(0))
        .map_err(|error| damaged(file, error))?;
    if found != "ok" {
        return Err(damaged(file, found));
    }
    let checked = (|| {
        let mut keys = connection.prepare("PRAGMA foreign_key_check")?;
        let dangling = keys.query(())?.next()?.is_some();
        let number = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, u32>(0));
        Ok::<_, rusqlite::Error>((dangling, number("page_count")?, number("page_size")?))
    })();
    match checked.map_err(|error| damaged(file, error))? {
        (true, ..) => Err(damaged(file, "a foreign key refers to nothing")),
        (false, pages, page_bytes) => Ok((pages, page_bytes)),
    }
}

/// Gives a digest of all a database holds: each table's definition and its rows in the order of their keys. Two
/// databases with the same content have the same, however their pages lie.
pub(super) fn content(connection: &Connection) -> rusqlite::Result<Digest> {
    let mut context = Context::new(&SHA256);
    let mut tables = connection.prepare(
        "SELECT name, sql FROM sqlite_schema WHERE type = 'table' AND (sql IS NOT NULL) ORDER BY name",
    )?;
    let tables: Vec<(String, String)> =
        tables.query_map((), |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?;
    for (name, sql) in tables {
        context.update(sql.as_bytes());
        let quoted = name.replace('"', "\"\"");
        // Rows come in the order of the table's own tree: by rowid, or by the primary key without one.
        let mut rows = connection.prepare(&format!("SELECT * FROM \"{quoted}\" NOT INDEXED"))?;
        let columns = rows.column_count();
        let mut rows = rows.query(())?;
        while let Some(row) = rows.next()? {
            for column in 0..columns {
                update(&mut context, row.get_ref(column)?);
            }
        }
    }
    Ok(hex(context.finish().as_ref()))
}

fn update(context: &mut Context, value: ValueRef<'_>) {
    let mut add = |kind: u8, bytes: &[u8]| {
        context.update(&[kind]);
        context.update(&(bytes.len() as u64).to_be_bytes());
        context.update(bytes);
    };
    match value {
        ValueRef::Null => add(0, &[]),
        ValueRef::Integer(number) => add(1, &number.to_be_bytes()),
        ValueRef::Real(number) => add(2, &number.to_bits().to_be_bytes()),
        ValueRef::Text(text) => add(3, text),
        ValueRef::Blob(bytes) => add(4, bytes),
    }
}
