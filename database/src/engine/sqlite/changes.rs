//! The change log as rows.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::group::Moment;
use super::records::Place;
use super::words::read_word;
use crate::change::ChangeKind;
use crate::engine::numbers::{number, stored};
use crate::{Change, Error, time};

pub(super) const APPEND: &str =
    "INSERT INTO changes (namespace, collection, id, kind, at) VALUES (?1, ?2, ?3, ?4, ?5)";
pub(super) const CHANGES: &str = "SELECT sequence, namespace, collection, id, kind, at FROM changes \
    WHERE sequence > ?1 ORDER BY sequence LIMIT ?2";
pub(super) const CHANGES_OF_NAMESPACE: &str = "SELECT sequence, namespace, collection, id, kind, at \
    FROM changes WHERE sequence > ?1 AND namespace = ?3 ORDER BY sequence LIMIT ?2";

pub(super) const LATEST: &str =
    "SELECT sequence FROM changes WHERE namespace = ?1 ORDER BY sequence DESC LIMIT 1";
pub(super) const GONE: &str = "SELECT max(sequence) FROM trimmed WHERE namespace IN (?1, '')";

/// What the mark of all namespaces together is called.
const ANY: &str = "*";

/// Appends a change; its sequence is the record's new version.
pub(super) fn append(moment: &mut Moment<'_>, place: &Place<'_>, kind: ChangeKind) -> Result<u64, Error> {
    let now = time::to_stored(moment.now);
    let row = params![place.namespace, place.collection, place.id, kind.as_str(), now];
    let sequence = moment.connection.prepare_cached(APPEND)?.insert(row)?;
    moment.effects.changed(place.namespace);
    match kind {
        ChangeKind::Create => moment.counts.note(place.namespace, place.collection, 1),
        ChangeKind::Delete => moment.counts.note(place.namespace, place.collection, -1),
        ChangeKind::Update => {}
    }
    Ok(number(sequence))
}

/// Lists changes after a sequence, oldest first.
pub(super) fn list(
    connection: &Connection,
    namespace: Option<&str>,
    after: u64,
    limit: u32,
) -> Result<Vec<Change>, Error> {
    let after = stored(after);
    let changes = match namespace {
        None => {
            let mut statement = connection.prepare_cached(CHANGES)?;
            statement.query_map(params![after, limit], read_change)?.collect::<Result<_, _>>()
        }
        Some(namespace) => {
            let mut statement = connection.prepare_cached(CHANGES_OF_NAMESPACE)?;
            statement.query_map(params![after, limit, namespace], read_change)?.collect()
        }
    };
    // After the changes: what is not gone now was there when they were read.
    let gone = gone(connection, namespace.unwrap_or(ANY))?;
    if gone > after {
        let latest = namespace.map(|namespace| latest(connection, namespace)).transpose()?.flatten();
        return Err(Error::ChangesGone { from: latest.unwrap_or_else(|| number(gone)) });
    }
    Ok(changes?)
}

/// Gives the sequence up to which changes are gone.
fn gone(connection: &Connection, namespace: &str) -> rusqlite::Result<i64> {
    let found: Option<i64> = connection.prepare_cached(GONE)?.query_row([namespace], |row| row.get(0))?;
    Ok(found.unwrap_or(0))
}

/// Gives the sequence of a namespace's latest change, also when that is gone.
pub(super) fn latest(connection: &Connection, namespace: &str) -> Result<Option<u64>, Error> {
    let mut statement = connection.prepare_cached(LATEST)?;
    let found: Option<i64> = statement.query_row([namespace], |row| row.get(0)).optional()?;
    let gone = Some(gone(connection, namespace)?).filter(|gone| *gone > 0);
    Ok(found.max(gone).map(number))
}

pub(super) fn read_change(row: &Row<'_>) -> rusqlite::Result<Change> {
    let kind = read_word(row, 4, ChangeKind::from_stored)?;
    Ok(Change {
        sequence: number(row.get(0)?),
        namespace: row.get(1)?,
        collection: row.get(2)?,
        id: row.get(3)?,
        kind,
        at: time::from_stored(row.get(5)?),
    })
}
