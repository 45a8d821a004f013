//! Removing old changes and ended jobs, some at a time, on a connection of its own.
//!
//! Each piece is a transaction, with the marks of how far changes are gone in the same one. Several processes may do it
//! at once: what one has removed the other does not find.

use std::time::Duration;

use jiff::Timestamp;
use tokio_postgres::types::ToSql;

use super::link::Link;
use super::session::Session;
use crate::retention::{ENDS, Retention};
use crate::{figures, time};

pub(super) const TRIM_CHANGES: &str = include_str!("sql/trim_changes.sql");
pub(super) const TRIM_JOBS: &str = include_str!("sql/trim_jobs.sql");
pub(super) const NTH_ENDED: &str = include_str!("sql/nth_ended_job.sql");
const NOW: &str = "SELECT now(), (SELECT sequence FROM counter)";

/// What the connection prepares.
pub(super) const STATEMENTS: &[&str] = &[TRIM_CHANGES, TRIM_JOBS, NTH_ENDED, NOW];

/// How many rows go in one transaction.
const PIECE: i64 = 500;

/// The pause after each.
const PAUSE: Duration = Duration::from_millis(20);

/// Removes what is too old, now and then, for as long as it is polled.
pub(super) async fn keep_trimmed(link: &Link, retention: &Retention) {
    loop {
        match link.session().await {
            Err(fault) => tracing::debug!(reason = %fault, "what is too old stays for now"),
            Ok(session) => {
                if let Err(error) = trim(&session, retention).await {
                    tracing::warn!(%error, "what is too old stays for now");
                    link.discard(&session).await;
                }
            }
        }
        tokio::time::sleep(retention.every).await;
    }
}

async fn trim(session: &Session, retention: &Retention) -> Result<(), tokio_postgres::Error> {
    // The server's time, which is what changes and jobs have.
    let row = session.query_one(NOW, &[]).await?;
    let (now, sequence): (Timestamp, i64) = (row.try_get(0)?, row.try_get(1)?);
    let before = moment(retention.changes_before(now));
    // Sequences have no gaps but the one a restore makes, and what is before that is gone for followers.
    let up_to = sequence.saturating_sub(retention.changes_kept());
    remove(session, TRIM_CHANGES, &[&before, &up_to, &PIECE], "changes").await?;
    for end in ENDS {
        let mut before = moment(retention.jobs_before(end, now));
        if retention.jobs_kept() < i64::MAX {
            // The first one too many; those that ended with it go with the next.
            let too_many = session.query(NTH_ENDED, &[&end, &retention.jobs_kept()]).await?;
            if let Some(row) = too_many.first() {
                let at: Timestamp = row.try_get(0)?;
                before = before.max(moment(time::to_stored(at).saturating_add(1)));
            }
        }
        remove(session, TRIM_JOBS, &[&end, &before, &PIECE], "jobs").await?;
    }
    Ok(())
}

/// Repeats a statement that removes a piece until it finds nothing more.
async fn remove(
    session: &Session,
    sql: &str,
    values: &[&(dyn ToSql + Sync)],
    what: &str,
) -> Result<(), tokio_postgres::Error> {
    loop {
        let removed: i64 = session.query_one(sql, values).await?.try_get(0)?;
        figures::TRIMMED.with_label_values(&[what]).inc_by(u64::try_from(removed).unwrap_or(0));
        if removed == 0 {
            return Ok(());
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// The oldest time PostgreSQL and we both know is early enough for "never".
fn moment(stored: i64) -> Timestamp {
    if stored < 0 { Timestamp::UNIX_EPOCH } else { time::from_stored(stored) }
}
