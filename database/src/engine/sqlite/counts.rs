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
pub(super) struct Counts(Vec<Change>);

#[derive(Debug)]
struct Change {
    namespace: String,
    collection: String,
    /// What callers did that were not refused.
    by: i64,
    /// What the present one does.
    pending: i64,
}

impl Counts {
    /// Notes that the present caller makes or removes a record.
    pub(super) fn note(&mut self, namespace: &str, collection: &str, by: i64) {
        let same = |change: &&mut Change| change.namespace == namespace && change.collection == collection;
        match self.0.iter_mut().find(same) {
            Some(change) => change.pending += by,
            None => {
                let (namespace, collection) = (namespace.to_owned(), collection.to_owned());
                self.0.push(Change { namespace, collection, by: 0, pending: by });
            }
        }
    }

    /// Ends the present caller's work: it stands, or it was undone.
    pub(super) fn end_caller(&mut self, stands: bool) {
        for change in &mut self.0 {
            let done = std::mem::take(&mut change.pending);
            change.by += if stands { done } else { 0 };
        }
    }

    /// Writes what the batch changes.
    pub(super) fn write(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        for Change { namespace, collection, by, .. } in self.0.drain(..).filter(|change| change.by != 0) {
            connection.prepare_cached(ADD)?.execute(params![namespace, collection, by])?;
        }
        Ok(())
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
