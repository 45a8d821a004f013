//! Commands on jobs: rows are read, `job::lease` decides, rows are written back.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

use super::group::Moment;
use super::job_rows;
use crate::job::lease;
use crate::limits::ANSWER_BYTES;
use crate::{Error, Job, JobCommand, time};

pub(super) const CLAIMABLE: &str = "SELECT run_at, id, length(payload) FROM jobs \
    WHERE state = 'waiting' AND queue = ?1 AND run_at <= ?2 ORDER BY run_at, number LIMIT ?3";
pub(super) const NEXT_DUE: &str =
    "SELECT run_at FROM jobs WHERE state = 'waiting' AND queue = ?1 ORDER BY run_at LIMIT 1";
pub(super) const NEXT_EXPIRY: &str =
    "SELECT lease_until FROM jobs WHERE state = 'leased' ORDER BY lease_until LIMIT 1";
pub(super) const EXPIRED: &str =
    "SELECT id FROM jobs WHERE state = 'leased' AND lease_until <= ?1 ORDER BY lease_until LIMIT ?2";

/// How many expired leases one commit takes back; the rest follow in the next.
const EXPIRY_BATCH: u32 = 256;

/// Does a command within the writer's present savepoint.
pub(super) fn perform(moment: &mut Moment<'_>, command: &JobCommand) -> Result<Vec<Job>, Error> {
    let now = moment.now;
    match command {
        JobCommand::Claim { queues, limit, lease_ms, .. } => {
            claim(moment, queues, *limit, Duration::from_millis(*lease_ms))
        }
        JobCommand::Extend { id, lease_token, lease_ms, progress } => {
            let lease = Duration::from_millis(*lease_ms);
            change(moment, id, |job, _| lease::extend(job, *lease_token, lease, *progress, now))
        }
        JobCommand::Succeed { id, lease_token, result } => {
            change(moment, id, |job, _| lease::succeed(job, *lease_token, result, now))
        }
        JobCommand::Fail { id, lease_token, error, retry } => change(moment, id, |job, moment| {
            lease::fail(job, *lease_token, error, *retry, &moment.backoff, now, moment.rng)
        }),
        JobCommand::Cancel { id } => change(moment, id, |job, _| lease::cancel(job, now)),
        JobCommand::Retry { id } => change(moment, id, |job, _| lease::retry(job, now)),
    }
}

fn change(
    moment: &mut Moment<'_>,
    id: &str,
    decide: impl FnOnce(&mut Job, &mut Moment<'_>) -> Result<(), Error>,
) -> Result<Vec<Job>, Error> {
    let mut job = job_rows::get(moment.connection, id, moment.now)?;
    decide(&mut job, moment)?;
    job_rows::update(moment, &job)?;
    Ok(vec![job])
}

fn claim(moment: &mut Moment<'_>, queues: &[String], limit: u32, lease: Duration) -> Result<Vec<Job>, Error> {
    let now = time::to_stored(moment.now);
    let mut candidates: Vec<(i64, String, i64)> = Vec::new();
    for queue in queues.iter().collect::<BTreeSet<_>>() {
        let mut statement = moment.connection.prepare_cached(CLAIMABLE)?;
        let rows = statement
            .query_map(params![queue, now, limit], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        for row in rows {
            candidates.push(row?);
        }
    }
    candidates.sort_unstable();
    let mut claimed = Vec::new();
    let mut bytes = 0;
    for (_, id, size) in candidates.into_iter().take(limit as usize) {
        bytes += usize::try_from(size).unwrap_or(0);
        if bytes > ANSWER_BYTES && !claimed.is_empty() {
            break;
        }
        let mut job = job_rows::get(moment.connection, &id, moment.now)?;
        lease::begin(&mut job, lease, moment.now);
        job_rows::update(moment, &job)?;
        claimed.push(job);
    }
    Ok(claimed)
}

/// Takes back leases that ran out.
pub(super) fn expire(moment: &mut Moment<'_>) -> Result<(), Error> {
    let now = time::to_stored(moment.now);
    let expired: Vec<String> = moment
        .connection
        .prepare_cached(EXPIRED)?
        .query_map(params![now, EXPIRY_BATCH], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    for id in expired {
        let mut job = job_rows::get(moment.connection, &id, moment.now)?;
        tracing::warn!(job = %job.id, queue = %job.queue, attempt = job.attempt, "a lease ran out");
        lease::expire(&mut job, &moment.backoff, moment.now, moment.rng);
        job_rows::update(moment, &job)?;
    }
    Ok(())
}

/// Finds when the next lease runs out.
pub(super) fn next_expiry(connection: &Connection) -> rusqlite::Result<Option<Timestamp>> {
    connection.prepare_cached(NEXT_EXPIRY)?.query_row((), |row| Ok(time::from_stored(row.get(0)?))).optional()
}

/// Finds when the next job of any of the queues can be claimed.
pub(super) fn next_due(connection: &Connection, queues: &[String]) -> Result<Option<Timestamp>, Error> {
    let mut next = None;
    for queue in queues {
        let due = connection
            .prepare_cached(NEXT_DUE)?
            .query_row([queue], |row| Ok(time::from_stored(row.get(0)?)))
            .optional()?;
        next = match (next, due) {
            (Some(next), Some(due)) => Some(std::cmp::min(next, due)),
            (next, due) => next.or(due),
        };
    }
    Ok(next)
}
