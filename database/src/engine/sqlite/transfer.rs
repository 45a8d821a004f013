//! All data of a database, read in one snapshot and written in one transaction ([`crate::copy`]).

use std::path::Path;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::declared::Making;
use super::{Owner, changes, connection, counts, declared, job_rows, records, schema};
use crate::copy::{CHUNK, CopyError, Differences, Digest, End, Inbox, Item, Outbox, Part, Summary, Taken};
use crate::engine::OpenError;
use crate::engine::numbers::{number, stored};
use crate::{Declaration, Earlier, Error, Record, time};

const RECORDS: &str = "SELECT id, version, created_at, updated_at, data, namespace, collection FROM records \
    ORDER BY namespace, collection, id";
const VERSIONS: &str = "SELECT id, version, created_at, updated_at, data, until, namespace, collection \
    FROM versions ORDER BY namespace, collection, id, version";
const CHANGES: &str = "SELECT sequence, namespace, collection, id, kind, at FROM changes ORDER BY sequence";
const ANSWERS: &str =
    "SELECT namespace, key, fingerprint, committed, expires_at FROM answers ORDER BY namespace, key";
const COLLECTIONS: &str = "SELECT namespace, name FROM collections ORDER BY namespace, name";
const SEQUENCE: &str = "SELECT seq FROM sqlite_sequence WHERE name = 'changes'";
const IS_EMPTY: &str = "SELECT NOT EXISTS (SELECT 1 FROM records) AND NOT EXISTS (SELECT 1 FROM changes) \
    AND NOT EXISTS (SELECT 1 FROM versions) AND NOT EXISTS (SELECT 1 FROM jobs) AND NOT EXISTS (SELECT 1 FROM answers)";
const PUT_RECORD: &str = "INSERT INTO records (namespace, collection, id, version, created_at, updated_at, data) \
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
const PUT_VERSION: &str = "INSERT INTO versions \
    (namespace, collection, id, version, created_at, updated_at, until, data) \
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
const PUT_CHANGE: &str =
    "INSERT INTO changes (sequence, namespace, collection, id, kind, at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
const PUT_ANSWER: &str = "INSERT INTO answers (namespace, key, fingerprint, committed, expires_at) \
    VALUES (?1, ?2, ?3, ?4, ?5)";
const TRIMMED: &str = "SELECT namespace, sequence FROM trimmed";
const PUT_TRIMMED: &str = "INSERT INTO trimmed (namespace, sequence) VALUES (?1, ?2) \
    ON CONFLICT (namespace) DO UPDATE SET sequence = excluded.sequence";
const FORGET_SEQUENCE: &str = "DELETE FROM sqlite_sequence WHERE name = 'changes'";
const SET_SEQUENCE: &str = "INSERT INTO sqlite_sequence (name, seq) VALUES ('changes', ?1)";

/// A data directory that is ours meanwhile.
struct Opened {
    connection: Connection,
    _owner: Owner,
}

/// Takes a data directory, opens its database and brings its schema up.
fn open(folder: &Path, may_make: bool) -> Result<Opened, CopyError> {
    connection::check_library()?;
    let file = connection::database_file(folder);
    // Asking for the metadata opens nothing.
    if !may_make && !file.exists() {
        let reason = format!("there is no database in {}", folder.display());
        return Err(OpenError::Storage { reason }.into());
    }
    let owner = Owner::take(folder)?;
    connection::create_private(&file).map_err(OpenError::from)?;
    let mut connection = connection::open_writer(&file).map_err(OpenError::from)?;
    schema::migrate(&mut connection)?;
    Ok(Opened { connection, _owner: owner })
}

/// Sends everything there is; blocks.
pub(crate) fn send_all(folder: &Path, outbox: &mut Outbox) -> Result<(), CopyError> {
    let opened = open(folder, false)?;
    let connection = &opened.connection;
    connection.execute_batch("BEGIN").map_err(Error::from)?;
    send_items(connection, outbox)?;
    outbox.blocking_send(Part::End(End {
        sequence: last_sequence(connection)?,
        declarations: declarations(connection)?,
        trimmed: trimmed(connection)?,
    }))?;
    match outbox.is_asked_again_blocking() {
        true => send_items(connection, outbox),
        false => Ok(()),
    }
}

fn send_items(connection: &Connection, outbox: &Outbox) -> Result<(), CopyError> {
    let mut chunk = Vec::with_capacity(CHUNK);
    each(connection, |item| {
        chunk.push(item);
        match chunk.len() {
            CHUNK => outbox.blocking_send(Part::Items(std::mem::take(&mut chunk))),
            _ => Ok(()),
        }
    })?;
    outbox.blocking_send(Part::Items(chunk))
}

/// Takes everything into an empty database, and makes the indexes; blocks.
pub(crate) fn receive_all(folder: &Path, inbox: &mut Inbox) -> Result<Summary, CopyError> {
    let opened = open(folder, true)?;
    let connection = &opened.connection;
    connection.execute_batch("BEGIN IMMEDIATE").map_err(Error::from)?;
    if !connection.query_row(IS_EMPTY, (), |row| row.get::<_, bool>(0)).map_err(Error::from)? {
        return Err(CopyError::NotEmpty { place: folder.display().to_string() });
    }
    let mut digest = Digest::new();
    let End { sequence, declarations, trimmed } = loop {
        match inbox.blocking_recv()? {
            Part::Items(items) => {
                for item in &items {
                    item.check_readable()?;
                    digest.take(item)?;
                    put(connection, item)?;
                }
            }
            Part::End(end) => break end,
        }
    };
    connection.execute(FORGET_SEQUENCE, ()).map_err(Error::from)?;
    connection.execute(SET_SEQUENCE, [stored(sequence)]).map_err(Error::from)?;
    for (namespace, sequence) in trimmed {
        connection.execute(PUT_TRIMMED, params![namespace, stored(sequence)]).map_err(Error::from)?;
    }
    let sent = digest.finish(sequence);
    let mut content = Digest::new();
    each(connection, |item| Ok(content.take(&item)?))?;
    if content.finish(last_sequence(connection)?) != sent {
        return Err(CopyError::Differs { what: what_differs(connection, inbox)? });
    }
    inbox.release();
    counts::count_all(connection).map_err(Error::from)?;
    for (namespace, declaration) in declarations {
        let contradicted = declared::declare(connection, &namespace, &declaration, Making::AtOnce)?;
        declaration.contradicted(&contradicted).map_or(Ok(()), Err)?;
    }
    connection.execute_batch("COMMIT").map_err(Error::from)?;
    Ok(sent)
}

/// Names what differs from what is sent once more.
fn what_differs(connection: &Connection, inbox: &mut Inbox) -> Result<String, CopyError> {
    inbox.ask_again();
    let mut differences = Differences::default();
    // All that was sent before what is there, and that.
    let mut compare = |there: Option<&Item>| -> Result<(), CopyError> {
        while !differences.is_full() {
            let taken = differences.compare(inbox.blocking_peek(), there)?;
            if matches!(taken, Some(Taken::Both | Taken::Sent)) {
                inbox.pass();
            }
            if taken != Some(Taken::Sent) {
                break;
            }
        }
        Ok(())
    };
    each(connection, |item| compare(Some(&item)))?;
    compare(None)?;
    Ok(differences.describe())
}

/// Gives everything in order: records, their earlier versions, changes, jobs, answers, each in the order of its key.
fn each(
    connection: &Connection,
    mut take: impl FnMut(Item) -> Result<(), CopyError>,
) -> Result<(), CopyError> {
    let jobs = format!("SELECT {} FROM jobs ORDER BY id", job_rows::COLUMNS);
    walk(connection, RECORDS, read_record, &mut take)?;
    walk(connection, VERSIONS, read_version, &mut take)?;
    walk(connection, CHANGES, |row| Ok(Item::Change(changes::read_change(row)?)), &mut take)?;
    let read_job = |row: &Row<'_>| Ok(Item::of_job(job_rows::read(row, Timestamp::MAX)?.0));
    walk(connection, &jobs, read_job, &mut take)?;
    walk(connection, ANSWERS, read_answer, &mut take)
}

fn walk(
    connection: &Connection,
    sql: &str,
    read: impl Fn(&Row<'_>) -> Result<Item, Error>,
    take: &mut impl FnMut(Item) -> Result<(), CopyError>,
) -> Result<(), CopyError> {
    let mut statement = connection.prepare(sql).map_err(Error::from)?;
    let mut rows = statement.query(()).map_err(Error::from)?;
    while let Some(row) = rows.next().map_err(Error::from)? {
        take(read(row)?)?;
    }
    Ok(())
}

fn read_record(row: &Row<'_>) -> Result<Item, Error> {
    let collection: String = row.get(6)?;
    let (record, _) = records::read(row, &collection)?;
    Ok(Item::Record { namespace: row.get(5)?, record })
}

fn read_version(row: &Row<'_>) -> Result<Item, Error> {
    let collection: String = row.get(7)?;
    let (record, _) = records::read(row, &collection)?;
    let version = Earlier { record, until: time::from_stored(row.get(5)?) };
    Ok(Item::Earlier { namespace: row.get(6)?, version })
}

fn read_answer(row: &Row<'_>) -> Result<Item, Error> {
    let committed: String = row.get(3)?;
    let committed = serde_json::from_str(&committed)
        .map_err(|error| Error::Storage { reason: format!("a kept answer: {error}") })?;
    let expires_at = time::from_stored(row.get(4)?);
    Ok(Item::Answer {
        namespace: row.get(0)?,
        key: row.get(1)?,
        fingerprint: row.get(2)?,
        committed,
        expires_at,
    })
}

fn put(connection: &Connection, item: &Item) -> Result<(), Error> {
    match item {
        Item::Record { namespace, record } => {
            let Record { collection, id, version, created_at, updated_at, data, .. } = record;
            let text = text(data)?;
            let times = (time::to_stored(*created_at), time::to_stored(*updated_at));
            let row = params![namespace, collection, id, stored(*version), times.0, times.1, text];
            connection.prepare_cached(PUT_RECORD)?.execute(row)?;
        }
        Item::Earlier { namespace, version: Earlier { record, until } } => {
            let Record { collection, id, version, created_at, updated_at, data, .. } = record;
            let times = [created_at, updated_at, until].map(|time| time::to_stored(*time));
            let row = params![
                namespace,
                collection,
                id,
                stored(*version),
                times[0],
                times[1],
                times[2],
                text(data)?
            ];
            connection.prepare_cached(PUT_VERSION)?.execute(row)?;
        }
        Item::Change(change) => {
            let kind = change.kind.as_str();
            let at = time::to_stored(change.at);
            let row =
                params![stored(change.sequence), change.namespace, change.collection, change.id, kind, at];
            connection.prepare_cached(PUT_CHANGE)?.execute(row)?;
        }
        Item::Job(job) => job_rows::insert_row(connection, job)?,
        Item::Answer { namespace, key, fingerprint, committed, expires_at } => {
            let row = params![namespace, key, fingerprint, text(committed)?, time::to_stored(*expires_at)];
            connection.prepare_cached(PUT_ANSWER)?.execute(row)?;
        }
    }
    Ok(())
}

fn text(value: &impl serde::Serialize) -> Result<String, Error> {
    serde_json::to_string(value).map_err(|error| Error::Storage { reason: error.to_string() })
}

fn last_sequence(connection: &Connection) -> Result<u64, Error> {
    let found: Option<i64> = connection.query_row(SEQUENCE, (), |row| row.get(0)).optional()?;
    Ok(found.map_or(0, number))
}

fn trimmed(connection: &Connection) -> Result<Vec<(String, u64)>, Error> {
    let mut statement = connection.prepare(TRIMMED)?;
    let marks = statement.query_map((), |row| Ok((row.get(0)?, number(row.get(1)?))))?;
    Ok(marks.collect::<Result<_, _>>()?)
}

fn declarations(connection: &Connection) -> Result<Vec<(String, Declaration)>, Error> {
    let mut statement = connection.prepare(COLLECTIONS)?;
    let named = statement.query_map((), |row| Ok((row.get(0)?, row.get(1)?)))?;
    let named: Vec<(String, String)> = named.collect::<Result<_, _>>()?;
    let declaration = |(namespace, collection): (String, String)| {
        let declared = declared::load(connection, &namespace, &collection)?;
        let history = (declared.history, declared.history_age);
        // One that is being made here is made there.
        let indexes = [declared.indexes, declared.filling].concat();
        Ok((namespace, Declaration::of_stored(collection, indexes, declared.scan, history)))
    };
    named.into_iter().map(declaration).collect()
}
