//! How many records each collection has: a row a collection, written once a batch with what the batch changes.
//!
//! So the count is as durable and as true as the records are, and a question costs one row. It costs a commit in which
//! records are made or deleted one page more; there is one writer, so nobody waits for the row.

use rusqlite::{Connection, OptionalExtension, params};

use crate::engine::numbers::number;

pub(super) const FIND: &str = "SELECT records FROM counts WHERE namespace = ?1 AND collection = ?2";
pub(super) const ADD: &str = "INSERT INTO counts (namespace, collection, records) VALUES (?1, ?2, ?3) \
    ON CONFLICT (namespace, collection) DO UPDATE SET records = records + excluded.records";
const FORGET: &str = "DELETE FROM counts";
const COUNT: &str =
    "INSERT INTO counts SELECT namespace, collection, count(*) FROM records GROUP BY namespace, collection";

/// By how much the collections of a batch grow or shrink.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// What callers did that were not refused.
    batch: Vec<Change>,
    /// What the present one does.
    caller: Vec<Change>,
}

#[derive(Debug)]
struct Change {
    namespace: String,
    collection: String,
    by: i64,
}

impl Counts {
    /// Notes that the present caller makes or removes a record.
    pub(super) fn note(&mut self, namespace: &str, collection: &str, by: i64) {
        note(&mut self.caller, namespace, collection, by);
    }

    /// Ends the present caller's work: it stands, or it was undone.
    pub(super) fn end_caller(&mut self, stands: bool) {
        for change in self.caller.drain(..).filter(|_| stands) {
            note(&mut self.batch, &change.namespace, &change.collection, change.by);
        }
    }

    /// Writes what the batch changes.
    pub(super) fn write(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        for Change { namespace, collection, by } in self.batch.drain(..).filter(|change| change.by != 0) {
            connection.prepare_cached(ADD)?.execute(params![namespace, collection, by])?;
        }
        Ok(())
    }
}

fn note(changes: &mut Vec<Change>, namespace: &str, collection: &str, by: i64) {
    let same = |change: &&mut Change| change.namespace == namespace && change.collection == collection;
    match changes.iter_mut().find(same) {
        Some(change) => change.by += by,
        None => {
            let (namespace, collection) = (namespace.to_owned(), collection.to_owned());
            changes.push(Change { namespace, collection, by });
        }
    }
}

/// Tells how many records a collection has.
pub(super) fn find(connection: &Connection, namespace: &str, collection: &str) -> rusqlite::Result<u64> {
    let mut statement = connection.prepare_cached(FIND)?;
    let found: Option<i64> = statement.query_row([namespace, collection], |row| row.get(0)).optional()?;
    Ok(found.map_or(0, number))
}

/// Counts all records, which were written some other way.
pub(super) fn count_all(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute(FORGET, ())?;
    connection.execute(COUNT, ()).map(drop)
}
