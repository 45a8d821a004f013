//! Answers to transactions that happen once: kept in the transaction itself, forgotten when their time is over.

use rusqlite::{Connection, OptionalExtension, params};

use super::group::Moment;
use crate::record::Answer;
use crate::{Committed, Error, time};

pub(super) const FIND: &str =
    "SELECT fingerprint, committed FROM answers WHERE namespace = ?1 AND key = ?2 AND expires_at > ?3";
const KEEP: &str = "INSERT INTO answers (namespace, key, fingerprint, committed, expires_at) \
    VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (namespace, key) DO UPDATE SET \
    fingerprint = excluded.fingerprint, committed = excluded.committed, expires_at = excluded.expires_at";
pub(super) const FORGET: &str = "DELETE FROM answers WHERE number IN \
    (SELECT number FROM answers WHERE expires_at <= ?1 ORDER BY expires_at LIMIT ?2)";

/// How many answers whose time is over are forgotten with each new one: more than one, so that they dwindle, and
/// few, so that no write pays for all.
const FORGOTTEN_A_WRITE: u32 = 8;

/// Finds what was answered under a key.
pub(super) fn find(
    connection: &Connection,
    namespace: &str,
    key: &str,
    now: jiff::Timestamp,
) -> Result<Option<Answer>, Error> {
    let mut statement = connection.prepare_cached(FIND)?;
    let found: Option<(String, String)> = statement
        .query_row(params![namespace, key, time::to_stored(now)], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((fingerprint, committed)) = found else { return Ok(None) };
    let committed: Committed = serde_json::from_str(&committed)
        .map_err(|error| Error::Storage { reason: format!("a kept answer: {error}") })?;
    Ok(Some(Answer { fingerprint, committed: committed.into_repeated() }))
}

/// Keeps an answer with the transaction it is to.
pub(super) fn keep(
    moment: &mut Moment<'_>,
    namespace: &str,
    key: &str,
    fingerprint: &str,
    keep_ms: u64,
    committed: &Committed,
) -> Result<(), Error> {
    let text =
        serde_json::to_string(committed).map_err(|error| Error::Invalid { reason: error.to_string() })?;
    let expires_at = time::later(moment.now, std::time::Duration::from_millis(keep_ms));
    let now = time::to_stored(moment.now);
    moment.connection.prepare_cached(FORGET)?.execute(params![now, FORGOTTEN_A_WRITE])?;
    let row = params![namespace, key, fingerprint, text, time::to_stored(expires_at)];
    moment.connection.prepare_cached(KEEP)?.execute(row)?;
    Ok(())
}
