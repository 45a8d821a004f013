//! Records as rows.

use std::borrow::Cow;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde_json::{Map, Value};

use super::group::Moment;
use super::{answers, changes, declared, versions};
use crate::change::ChangeKind;
use crate::engine::filling::Filling;
use crate::engine::numbers::{number, stored};
use crate::limits::{self, ANSWER_BYTES};
use crate::{
    Committed, Error, NewJob, Operation, Outcome, Page, Precondition, Record, Transaction, merge_patch, time,
};

pub(super) const FIND: &str = "SELECT number, version, created_at FROM records \
    WHERE namespace = ?1 AND collection = ?2 AND id = ?3";
pub(super) const DATA: &str = "SELECT data FROM records WHERE number = ?1";
pub(super) const INSERT: &str = "INSERT INTO records \
    (namespace, collection, id, version, created_at, updated_at, data) VALUES (?1, ?2, ?3, ?4, ?5, ?5, ?6)";
pub(super) const UPDATE: &str =
    "UPDATE records SET version = ?2, updated_at = ?3, data = ?4 WHERE number = ?1";
pub(super) const REWRITE: &str = "UPDATE records SET data = ?5 \
    WHERE namespace = ?1 AND collection = ?2 AND id = ?3 AND version = ?4";
pub(super) const DELETE: &str = "DELETE FROM records WHERE number = ?1";
pub(super) const MOVE: &str =
    "UPDATE records SET collection = ?2, version = ?3, updated_at = ?4 WHERE number = ?1";
pub(super) const GET: &str = "SELECT id, version, created_at, updated_at, data FROM records \
    WHERE namespace = ?1 AND collection = ?2 AND id = ?3";
pub(super) const LIST: &str = "SELECT id, version, created_at, updated_at, data FROM records \
    WHERE namespace = ?1 AND collection = ?2 AND id > ?3 ORDER BY id LIMIT ?4";

/// Does a transaction's operations within the writer's present savepoint. The outcomes lack what
/// [`Transaction::complete`] adds.
pub(super) fn transact(moment: &mut Moment<'_>, transaction: &Transaction) -> Result<Committed, Error> {
    let namespace = &transaction.namespace;
    if let Some(Operation::Once { key, fingerprint, .. }) = transaction.operations.first()
        && let Some(answer) = answers::find(moment.connection, namespace, key, moment.now)?
    {
        return match answer.fingerprint == *fingerprint {
            true => Ok(answer.committed),
            false => Err(Error::KeyReused),
        };
    }
    let mut sequence = 0;
    let mut outcomes = Vec::with_capacity(transaction.operations.len());
    for (operation, wanted) in transaction.operations.iter().enumerate() {
        let place =
            |collection, id, precondition| Place { namespace, collection, id, precondition, operation };
        let outcome = match wanted {
            Operation::Put { collection, id, data, precondition } => {
                put(moment, &place(collection, id, *precondition), data)?
            }
            Operation::Patch { collection, id, patch: change, precondition } => {
                patch(moment, &place(collection, id, *precondition), change)?
            }
            Operation::Delete { collection, id, precondition } => {
                delete(moment, &place(collection, id, *precondition))?
            }
            Operation::Move { collection, id, to, precondition, target } => {
                relocate(moment, &place(collection, id, *precondition), &place(to, id, *target))?
            }
            Operation::Rewrite { collection, id, version, data } => {
                rewrite(moment, &place(collection, id, Precondition::None), *version, data)?
            }
            Operation::Require { collection, id, precondition } => {
                find(moment, &place(collection, id, *precondition))?;
                Outcome::Held
            }
            Operation::Trim { collection } => {
                versions::trim(moment, namespace, collection)?;
                Outcome::Trimmed
            }
            Operation::Once { .. } => Outcome::First,
            Operation::Enqueue { job } => enqueue(moment, namespace, job)?,
        };
        sequence = outcome.sequence().unwrap_or(sequence);
        outcomes.push(outcome);
    }
    let committed = Committed { sequence, at: moment.now, outcomes };
    if let Some(Operation::Once { key, fingerprint, keep_ms }) = transaction.operations.first() {
        let mut whole = committed.clone();
        transaction.clone().complete(&mut whole);
        answers::keep(moment, namespace, key, fingerprint, *keep_ms, &whole)?;
    }
    Ok(committed)
}

/// Which record an operation is about, and what must hold for it.
pub(super) struct Place<'a> {
    pub(super) namespace: &'a str,
    pub(super) collection: &'a str,
    pub(super) id: &'a str,
    precondition: Precondition,
    operation: usize,
}

/// What is needed of a record that exists in order to change it.
struct Present {
    number: i64,
    version: u64,
    created_at: Timestamp,
}

fn put(moment: &mut Moment<'_>, place: &Place<'_>, data: &Map<String, Value>) -> Result<Outcome, Error> {
    let present = find(moment, place)?;
    write(moment, place, present, Cow::Borrowed(data))
}

fn patch(moment: &mut Moment<'_>, place: &Place<'_>, change: &Map<String, Value>) -> Result<Outcome, Error> {
    let present = find(moment, place)?.ok_or_else(|| no_record(place))?;
    let text: String =
        moment.connection.prepare_cached(DATA)?.query_row([present.number], |row| row.get(0))?;
    let mut data = serde_json::from_str(&text).map_err(|_| unreadable(place))?;
    merge_patch::apply(&mut data, change);
    limits::check_object("the patched record", &data)?;
    write(moment, place, Some(present), Cow::Owned(data))
}

/// Writes the data of one version anew, wherever it is.
fn rewrite(
    moment: &mut Moment<'_>,
    place: &Place<'_>,
    version: u64,
    data: &Map<String, Value>,
) -> Result<Outcome, Error> {
    let text = serde_json::to_string(data).map_err(|error| Error::Invalid { reason: error.to_string() })?;
    let row = params![place.namespace, place.collection, place.id, stored(version), text];
    let done = moment.connection.prepare_cached(REWRITE)?.execute(row);
    let connection = moment.connection;
    if done.map_err(|error| declared::explain(connection, error, place.operation))? == 0 {
        connection.prepare_cached(versions::REWRITE)?.execute(row)?;
    }
    Ok(Outcome::Rewritten)
}

fn delete(moment: &mut Moment<'_>, place: &Place<'_>) -> Result<Outcome, Error> {
    let present = find(moment, place)?.ok_or_else(|| no_record(place))?;
    versions::remove(moment, place)?;
    moment.connection.prepare_cached(DELETE)?.execute([present.number])?;
    let version = changes::append(moment, place, ChangeKind::Delete)?;
    Ok(Outcome::Deleted { version })
}

/// Moves a record from one place to another.
fn relocate(moment: &mut Moment<'_>, from: &Place<'_>, to: &Place<'_>) -> Result<Outcome, Error> {
    let present = find(moment, from)?.ok_or_else(|| no_record(from))?;
    let replaced = find(moment, to)?;
    versions::keep(moment, from, present.number)?;
    if let Some(replaced) = &replaced {
        versions::remove(moment, to)?;
        moment.connection.prepare_cached(DELETE)?.execute([replaced.number])?;
    }
    versions::relocate(moment, from, to.collection)?;
    changes::append(moment, from, ChangeKind::Delete)?;
    let created = replaced.is_none();
    let version = changes::append(moment, to, if created { ChangeKind::Create } else { ChangeKind::Update })?;
    let connection = moment.connection;
    let row = params![present.number, to.collection, stored(version), time::to_stored(moment.now)];
    let done = connection.prepare_cached(MOVE)?.execute(row);
    done.map_err(|error| declared::explain(connection, error, to.operation))?;
    let text: String = connection.prepare_cached(DATA)?.query_row([present.number], |row| row.get(0))?;
    let record = Record {
        collection: to.collection.to_owned(),
        id: to.id.to_owned(),
        version,
        created_at: present.created_at,
        updated_at: moment.now,
        data: Map::new(),
        unreadable: false,
    };
    Ok(Outcome::Written { record: record.with_stored(&text), created })
}

fn enqueue(moment: &mut Moment<'_>, namespace: &str, job: &NewJob) -> Result<Outcome, Error> {
    let job = job.clone().into_job(namespace, moment.now);
    super::job_rows::insert(moment, &job)?;
    Ok(Outcome::Enqueued { job })
}

/// Finds an operation's record and checks its precondition.
fn find(moment: &Moment<'_>, place: &Place<'_>) -> Result<Option<Present>, Error> {
    let mut statement = moment.connection.prepare_cached(FIND)?;
    let present = statement
        .query_row([place.namespace, place.collection, place.id], |row| {
            let version = number(row.get(1)?);
            Ok(Present { number: row.get(0)?, version, created_at: time::from_stored(row.get(2)?) })
        })
        .optional()?;
    let current = present.as_ref().map(|present| present.version);
    match place.precondition.holds(current) {
        true => Ok(present),
        false => Err(Error::PreconditionFailed { operation: place.operation, current }),
    }
}

fn write(
    moment: &mut Moment<'_>,
    place: &Place<'_>,
    present: Option<Present>,
    data: Cow<'_, Map<String, Value>>,
) -> Result<Outcome, Error> {
    let created = present.is_none();
    let kind = if created { ChangeKind::Create } else { ChangeKind::Update };
    let version = changes::append(moment, place, kind)?;
    let text = serde_json::to_string(&*data).map_err(|error| Error::Invalid { reason: error.to_string() })?;
    let (connection, now) = (moment.connection, time::to_stored(moment.now));
    let created_at = match present {
        Some(present) => {
            versions::keep(moment, place, present.number)?;
            let row = params![present.number, stored(version), now, text];
            let done = connection.prepare_cached(UPDATE)?.execute(row);
            done.map_err(|error| declared::explain(connection, error, place.operation))?;
            present.created_at
        }
        None => {
            let row = params![place.namespace, place.collection, place.id, stored(version), now, text];
            let done = connection.prepare_cached(INSERT)?.execute(row);
            done.map_err(|error| declared::explain(connection, error, place.operation))?;
            moment.now
        }
    };
    let (collection, id, data) = match data {
        // `Transaction::complete` adds what the transaction says itself, without a copy.
        Cow::Borrowed(_) => Default::default(),
        Cow::Owned(data) => (place.collection.to_owned(), place.id.to_owned(), data),
    };
    let record =
        Record { collection, id, version, created_at, updated_at: moment.now, data, unreadable: false };
    Ok(Outcome::Written { record, created })
}

/// Finds a record by its name.
pub(super) fn get(
    connection: &Connection,
    namespace: &str,
    collection: &str,
    id: &str,
) -> Result<Page, Error> {
    let mut statement = connection.prepare_cached(GET)?;
    let found = statement.query_row([namespace, collection, id], |row| read(row, collection)).optional()?;
    Ok(Page { records: found.map(|(record, _)| record).into_iter().collect(), ..Page::default() })
}

/// Lists a collection's records by their names.
pub(super) fn list(
    connection: &Connection,
    namespace: &str,
    collection: &str,
    after: &str,
    limit: u32,
) -> Result<Page, Error> {
    let mut statement = connection.prepare_cached(LIST)?;
    // One more than asked for tells whether there is a next page.
    let mut rows = statement.query(params![namespace, collection, after, i64::from(limit) + 1])?;
    let mut filling = Filling::new(limit);
    while let Some(row) = rows.next()? {
        let (record, size) = read(row, collection)?;
        if filling.take(record, size).is_break() {
            break;
        }
    }
    let (records, next) = filling.finish_with(|record: &Record| &record.id);
    Ok(Page { records, next, ..Page::default() })
}

/// Reads records by their names, until the answer is large.
pub(super) fn some(
    connection: &Connection,
    namespace: &str,
    collection: &str,
    ids: &[String],
) -> Result<Page, Error> {
    let mut statement = connection.prepare_cached(GET)?;
    let mut page = Page::default();
    let mut bytes = 0;
    for id in ids {
        if bytes > ANSWER_BYTES {
            page.next = Some(id.clone());
            break;
        }
        let found =
            statement.query_row([namespace, collection, id], |row| read(row, collection)).optional()?;
        if let Some((record, size)) = found {
            bytes += size;
            page.records.push(record);
        }
    }
    Ok(page)
}

/// Reads the five columns of a record, and how long its data is as text.
pub(super) fn read(row: &Row<'_>, collection: &str) -> rusqlite::Result<(Record, usize)> {
    let text = row.get_ref(4)?.as_str()?;
    let record = Record {
        collection: collection.to_owned(),
        id: row.get(0)?,
        version: number(row.get(1)?),
        created_at: time::from_stored(row.get(2)?),
        updated_at: time::from_stored(row.get(3)?),
        data: Map::new(),
        unreadable: false,
    };
    Ok((record.with_stored(text), text.len()))
}

fn unreadable(place: &Place<'_>) -> Error {
    Error::unreadable_record(place.collection, place.id)
}

fn no_record(place: &Place<'_>) -> Error {
    Error::no_record(place.collection, place.id)
}
