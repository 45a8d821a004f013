//! What a database holds, counted and hashed: as a copy or a restore must have it.

use process::Secret;
use tokio::runtime::Handle;

use super::super::fault::Fault;
use super::super::session::{Server, Session};
use super::pages::Pages;
use super::{LOCK, MARK, PATIENT, SEQUENCE, failed};
use crate::Error;
use crate::backup::postgres::Lsn;
use crate::copy::{CopyError, Digest, Summary};
use crate::engine::OpenError;
use crate::engine::numbers::number;

/// Keeps writers of jobs, which do not lock the counter, and whoever removes old changes, out for the moment.
const HOLD: &str = "LOCK TABLE jobs, changes IN SHARE MODE";

/// Counts and hashes what is there.
pub(super) async fn content(session: &Session) -> Result<Summary, CopyError> {
    let (mut digest, mut pages) = (Digest::new(), Pages::new(session));
    while let Some(items) = pages.next().await? {
        items.iter().try_for_each(|item| digest.take(item))?;
    }
    Ok(digest.finish(number(session.query_one(SEQUENCE, &[]).await.map_err(failed)?.get(0))))
}

/// Tells whether a server can be connected to and takes writes.
pub(crate) async fn is_open(url: &Secret) -> bool {
    match Server::new(url.expose(), Handle::current()) {
        Ok(server) => server.connect(&[], None).await.is_ok(),
        Err(_) => false,
    }
}

/// Counts and hashes what a database holds that nobody writes to.
pub(crate) async fn content_of(url: &Secret) -> Result<Summary, CopyError> {
    let server = Server::new(url.expose(), Handle::current())?;
    let session = connect(&server).await?;
    content(&session).await
}

/// Counts and hashes what a database holds at one place of its log: exactly what was committed before that. Also gives
/// a later place, up to which the log must be received so that a recovery can stop at the first.
pub(crate) async fn content_now(server: &Server) -> Result<(Lsn, Lsn, Summary), CopyError> {
    let (holding, reading) = (connect(server).await?, connect(server).await?);
    reading.run("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await.map_err(failed)?;
    holding.run("BEGIN; SET LOCAL lock_timeout = '2s'").await.map_err(failed)?;
    // Both lanes stand still for this moment. The counter comes first, as with them: then nobody waits in a circle.
    holding.query_one(LOCK, &[]).await.map_err(failed)?;
    holding.run(HOLD).await.map_err(failed)?;
    let place: Lsn = place(&reading, "SELECT pg_current_wal_insert_lsn()::text").await?;
    holding.run("ROLLBACK").await.map_err(failed)?;
    // Recovery stops before the first record at or after the place, so there must be one.
    holding.run(MARK).await.map_err(failed)?;
    let marked = self::place(&holding, "SELECT pg_current_wal_flush_lsn()::text").await?;
    Ok((place, marked, content(&reading).await?))
}

async fn connect(server: &Server) -> Result<Session, CopyError> {
    let storage = |fault: Fault| OpenError::Storage { reason: fault.to_string() };
    let session = server.connect(&[], None).await.map_err(storage)?;
    session.run(PATIENT).await.map_err(failed)?;
    Ok(session)
}

async fn place(session: &Session, sql: &str) -> Result<Lsn, CopyError> {
    let text: String = session.query_one(sql, &[]).await.map_err(failed)?.get(0);
    Ok(text.parse().map_err(|reason| Error::Storage { reason })?)
}
