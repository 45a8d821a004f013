//! Earlier versions of records as rows: kept by the write that ends them, within what their collection declares.

use rusqlite::{Connection, OptionalExtension, params};

use super::group::Moment;
use super::records::{self, Place};
use crate::engine::filling::Filling;
use crate::engine::numbers::stored;
use crate::transaction::TRIM_LIMIT;
use crate::{Earlier, Error, Page, time};

const DECLARED: &str = "SELECT history, history_age FROM collections WHERE namespace = ?1 AND name = ?2";
pub(super) const KEEP: &str = "INSERT INTO versions \
    (namespace, collection, id, version, created_at, updated_at, until, data) \
    SELECT namespace, collection, id, version, created_at, updated_at, ?2, data FROM records WHERE number = ?1";
pub(super) const CUT: &str = "DELETE FROM versions WHERE namespace = ?1 AND collection = ?2 AND id = ?3 AND version <= \
    (SELECT version FROM versions WHERE namespace = ?1 AND collection = ?2 AND id = ?3 \
    ORDER BY version DESC LIMIT 1 OFFSET ?4)";
pub(super) const REMOVE: &str = "DELETE FROM versions WHERE namespace = ?1 AND collection = ?2 AND id = ?3";
pub(super) const MOVE: &str =
    "UPDATE versions SET collection = ?4 WHERE namespace = ?1 AND collection = ?2 AND id = ?3";
pub(super) const REWRITE: &str = "UPDATE versions SET data = ?5 \
    WHERE namespace = ?1 AND collection = ?2 AND id = ?3 AND version = ?4";
pub(super) const TRIM: &str = "DELETE FROM versions WHERE number IN (SELECT number FROM versions \
    WHERE namespace = ?1 AND collection = ?2 AND until <= ?3 ORDER BY until LIMIT ?4)";
pub(super) const LIST: &str = "SELECT id, version, created_at, updated_at, data, until FROM versions \
    WHERE namespace = ?1 AND collection = ?2 AND id = ?3 AND version < ?4 AND until > ?5 \
    ORDER BY version DESC LIMIT ?6";

/// How many versions whose time is over go with each new one: more than one, so that they dwindle.
const TRIMMED_A_WRITE: u32 = 8;

/// Keeps the present version of a record that is about to be written, if its collection has a history.
pub(super) fn keep(moment: &Moment<'_>, place: &Place<'_>, record: i64) -> Result<(), Error> {
    let (most, age) = declared(moment.connection, place.namespace, place.collection)?;
    if most == 0 {
        return Ok(());
    }
    moment.connection.prepare_cached(KEEP)?.execute(params![record, time::to_stored(moment.now)])?;
    let cut = params![place.namespace, place.collection, place.id, most];
    moment.connection.prepare_cached(CUT)?.execute(cut)?;
    match age {
        Some(age) => forget(moment, place.namespace, place.collection, age, TRIMMED_A_WRITE),
        None => Ok(()),
    }
}

/// Removes the versions of a record that is removed.
pub(super) fn remove(moment: &Moment<'_>, place: &Place<'_>) -> Result<(), Error> {
    let key = [place.namespace, place.collection, place.id];
    moment.connection.prepare_cached(REMOVE)?.execute(key)?;
    Ok(())
}

/// Moves the versions of a record that moves.
pub(super) fn relocate(moment: &Moment<'_>, place: &Place<'_>, to: &str) -> Result<(), Error> {
    let key = [place.namespace, place.collection, place.id, to];
    moment.connection.prepare_cached(MOVE)?.execute(key)?;
    Ok(())
}

/// Removes some versions of a collection whose time is over.
pub(super) fn trim(moment: &Moment<'_>, namespace: &str, collection: &str) -> Result<(), Error> {
    match declared(moment.connection, namespace, collection)?.1 {
        Some(age) => forget(moment, namespace, collection, age, TRIM_LIMIT),
        None => Ok(()),
    }
}

fn forget(moment: &Moment<'_>, namespace: &str, collection: &str, age: i64, most: u32) -> Result<(), Error> {
    let over = time::to_stored(moment.now).saturating_sub(age);
    moment.connection.prepare_cached(TRIM)?.execute(params![namespace, collection, over, most])?;
    Ok(())
}

/// Reads how many versions of a record a collection keeps, and for how long.
fn declared(connection: &Connection, namespace: &str, collection: &str) -> Result<(u32, Option<i64>), Error> {
    let mut statement = connection.prepare_cached(DECLARED)?;
    let found =
        statement.query_row([namespace, collection], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    Ok(found.unwrap_or_default())
}

/// Lists the earlier versions of a record, the latest first.
pub(super) fn list(
    connection: &Connection,
    namespace: &str,
    collection: &str,
    id: &str,
    before: Option<u64>,
    limit: u32,
) -> Result<Page, Error> {
    let age = declared(connection, namespace, collection)?.1;
    let over = age.map_or(i64::MIN, |age| time::to_stored(time::now()).saturating_sub(age));
    let before = before.map_or(i64::MAX, stored);
    let mut statement = connection.prepare_cached(LIST)?;
    // One more than asked for tells whether there is a next page.
    let one_more = i64::from(limit) + 1;
    let mut rows = statement.query(params![namespace, collection, id, before, over, one_more])?;
    let mut filling = Filling::new(limit);
    while let Some(row) = rows.next()? {
        let (record, size) = records::read(row, collection)?;
        let until = time::from_stored(row.get(5)?);
        if filling.take(Earlier { record, until }, size).is_break() {
            break;
        }
    }
    let (earlier, has_earlier) = filling.finish();
    Ok(Page { earlier, has_earlier, ..Page::default() })
}
