//! All data of a database, read in one snapshot and written in one transaction ([`crate::copy`]).
//!
//! [`pages`] reads it, [`mod@paste`] writes it, [`mod@content`] is what a copy and a restore are compared by.

mod content;
mod pages;
mod paste;

use process::Secret;
use tokio::runtime::Handle;

use self::content::content;
pub(crate) use self::content::{content_now, content_of, is_open};
use self::pages::Pages;
use self::paste::paste;
use super::fault::Fault;
use super::session::{Server, Session};
use super::{declared, schema};
use crate::copy::{CopyError, Differences, Digest, End, Inbox, Item, Outbox, Part, Summary, Taken};
use crate::engine::OpenError;
use crate::engine::numbers::{number, stored};
use crate::{Declaration, Error};

const COLLECTIONS: &str = "SELECT namespace, name FROM collections ORDER BY namespace, name";
const SEQUENCE: &str = "SELECT sequence FROM counter";
const LOCK: &str = "SELECT sequence FROM counter FOR UPDATE";
const TRIMMED: &str = "SELECT namespace, sequence FROM trimmed";
const PUT_TRIMMED: &str = "INSERT INTO trimmed (namespace, sequence) VALUES ($1, $2) \
    ON CONFLICT (namespace) DO UPDATE SET sequence = excluded.sequence";
/// A record in the log that changes nothing.
pub(super) const MARK: &str = "SELECT pg_logical_emit_message(true, 'sixfold', '')";
const IS_EMPTY: &str = "SELECT NOT EXISTS (SELECT FROM records) AND NOT EXISTS (SELECT FROM changes) \
    AND NOT EXISTS (SELECT FROM versions) AND NOT EXISTS (SELECT FROM jobs) AND NOT EXISTS (SELECT FROM answers)";
const COUNT: &str = include_str!("../sql/count_records.sql");
const SET_SEQUENCE: &str = "UPDATE counter SET sequence = $1";

/// The settings of a connection that is to take as long as it takes.
const PATIENT: &str = "SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0";

/// Opens the database and brings its schema up.
async fn open(url: &Secret) -> Result<(Server, Session), CopyError> {
    let server = Server::new(url.expose(), Handle::current())?;
    let storage = |fault: Fault| OpenError::Storage { reason: fault.to_string() };
    let session = server.connect(&[], None).await.map_err(storage)?;
    schema::migrate(&session, server.schema()).await?;
    session.run(PATIENT).await.map_err(failed)?;
    Ok((server, session))
}

/// Sends everything there is.
pub(crate) async fn send_all(url: &Secret, outbox: &mut Outbox) -> Result<(), CopyError> {
    let (_, session) = open(url).await?;
    session.run("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await.map_err(failed)?;
    send_items(&session, outbox).await?;
    let sequence = number(session.query_one(SEQUENCE, &[]).await.map_err(failed)?.get(0));
    let declarations = declarations(&session).await?;
    let marks = session.query(TRIMMED, &[]).await.map_err(failed)?;
    let trimmed = marks.iter().map(|row| (row.get(0), number(row.get(1)))).collect();
    outbox.send(Part::End(End { sequence, declarations, trimmed })).await?;
    match outbox.is_asked_again().await {
        true => send_items(&session, outbox).await,
        false => Ok(()),
    }
}

async fn send_items(session: &Session, outbox: &Outbox) -> Result<(), CopyError> {
    let mut pages = Pages::new(session);
    while let Some(items) = pages.next().await? {
        outbox.send(Part::Items(items)).await?;
    }
    Ok(())
}

/// Takes everything into an empty database, and makes the indexes.
pub(crate) async fn receive_all(url: &Secret, place: &str, inbox: &mut Inbox) -> Result<Summary, CopyError> {
    let (server, session) = open(url).await?;
    session.run("BEGIN").await.map_err(failed)?;
    // A process that serves this database waits meanwhile, and gives up waiting.
    session.query_one(LOCK, &[]).await.map_err(failed)?;
    if !session.query_one(IS_EMPTY, &[]).await.map_err(failed)?.get::<_, bool>(0) {
        return Err(CopyError::NotEmpty { place: place.to_owned() });
    }
    let mut digest = Digest::new();
    let End { sequence, declarations, trimmed } = loop {
        match inbox.recv().await? {
            Part::Items(items) => {
                items.iter().try_for_each(Item::check_readable)?;
                items.iter().try_for_each(|item| digest.take(item))?;
                paste(&session, &items).await?;
            }
            Part::End(end) => break end,
        }
    };
    session.execute(SET_SEQUENCE, &[&stored(sequence)]).await.map_err(failed)?;
    for (namespace, sequence) in trimmed {
        session.execute(PUT_TRIMMED, &[&namespace, &stored(sequence)]).await.map_err(failed)?;
    }
    let sent = digest.finish(sequence);
    if content(&session).await? != sent {
        return Err(CopyError::Differs { what: what_differs(&session, inbox).await? });
    }
    inbox.release();
    session.execute(COUNT, &[]).await.map_err(failed)?;
    session.run("COMMIT").await.map_err(failed)?;
    for (namespace, declaration) in declarations {
        let declared = declared::declare(&server, &namespace, &declaration).await;
        let declared = declared.and_then(|(_, contradicted)| contradicted.map_or(Ok(()), Err));
        let collection = declaration.collection;
        declared.map_err(|error| CopyError::Index { collection, error })?;
    }
    Ok(sent)
}

/// Names what differs from what is sent once more.
async fn what_differs(session: &Session, inbox: &mut Inbox) -> Result<String, CopyError> {
    inbox.ask_again();
    let (mut differences, mut pages) = (Differences::default(), Pages::new(session));
    let mut there = Vec::new().into_iter().peekable();
    while !differences.is_full() {
        if there.peek().is_none() {
            there = pages.next().await?.unwrap_or_default().into_iter().peekable();
        }
        let Some(taken) = differences.compare(inbox.peek().await, there.peek())? else { break };
        if taken != Taken::There {
            inbox.pass();
        }
        if taken != Taken::Sent {
            there.next();
        }
    }
    Ok(differences.describe())
}

async fn declarations(session: &Session) -> Result<Vec<(String, Declaration)>, CopyError> {
    let mut all = Vec::new();
    for row in session.query(COLLECTIONS, &[]).await.map_err(failed)? {
        let (namespace, collection): (String, String) = (row.get(0), row.get(1));
        let rows = session.query(declared::LOAD, &[&namespace, &collection]).await.map_err(failed)?;
        let declared = declared::read(&rows)?;
        let history = (declared.history, declared.history_age);
        all.push((namespace, Declaration::of_stored(collection, declared.indexes, declared.scan, history)));
    }
    Ok(all)
}

fn failed(error: tokio_postgres::Error) -> CopyError {
    Error::Storage { reason: Fault::from(error).to_string() }.into()
}
