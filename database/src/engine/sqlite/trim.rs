//! Removing old changes and ended jobs, some with each step ([`super::chores`]).
//!
//! With the changes, their marks are written: up to where a namespace has no changes any more, so that a follower
//! that comes from before is told, and one whose namespace was quiet is not.

use std::time::Instant;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

use super::index_table::STEP;
use crate::retention::{ENDS, Retention};
use crate::{Error, figures};

/// How many rows go between two looks at the time.
const BITE: i64 = 128;

pub(super) const FIRST: &str = "SELECT sequence, at FROM changes ORDER BY sequence LIMIT 1";
pub(super) const LAST: &str = "SELECT max(sequence) FROM changes";
pub(super) const NTH_JOB: &str = "SELECT updated_at FROM jobs WHERE state = ?1 AND state <> 'waiting' AND state <> 'leased' \
    ORDER BY updated_at DESC LIMIT 1 OFFSET ?2";
pub(super) const FIRST_JOB: &str =
    "SELECT min(updated_at) FROM jobs WHERE state = ?1 AND state <> 'waiting' AND state <> 'leased'";
pub(super) const ENDING: &str = "SELECT max(sequence) FROM \
    (SELECT sequence, at FROM changes ORDER BY sequence LIMIT ?3) WHERE at < ?1 OR sequence <= ?2";
/// Left alone, the planner walks all changes by their namespaces to save sorting the few that go.
pub(super) const MARK: &str = "INSERT INTO trimmed (namespace, sequence) \
    SELECT namespace, max(sequence) FROM changes NOT INDEXED WHERE sequence <= ?1 GROUP BY namespace \
    UNION ALL SELECT '*', ?1 WHERE true \
    ON CONFLICT (namespace) DO UPDATE SET sequence = max(sequence, excluded.sequence)";
pub(super) const REMOVE: &str = "DELETE FROM changes WHERE sequence <= ?1";
pub(super) const REMOVE_JOBS: &str = "DELETE FROM jobs WHERE number IN (SELECT number FROM jobs \
    WHERE state = ?1 AND state <> 'waiting' AND state <> 'leased' AND updated_at < ?2 ORDER BY updated_at LIMIT ?3)";

/// What is to be removed: found by a reader, done by the writer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Excess {
    /// Changes from before this time, in microseconds, or up to this sequence.
    changes: (i64, i64),
    /// Jobs of each end from before this time.
    jobs: [i64; ENDS.len()],
}

/// Looks whether there is something to remove. Only the number of jobs takes a walk, of as many as are kept.
pub(super) fn find(
    connection: &Connection,
    retention: &Retention,
    now: Timestamp,
) -> rusqlite::Result<Option<Excess>> {
    let last: Option<i64> = connection.query_row(LAST, (), |row| row.get(0))?;
    let before = retention.changes_before(now);
    // Sequences have no gaps but the one a restore makes, and what is before that is gone for followers.
    let up_to = last.unwrap_or(0).saturating_sub(retention.changes_kept());
    let first: Option<(i64, i64)> =
        connection.query_row(FIRST, (), |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    let mut is_any = first.is_some_and(|(sequence, at)| at < before || sequence <= up_to);
    let mut jobs = [i64::MIN; ENDS.len()];
    for (end, cut) in ENDS.iter().zip(&mut jobs) {
        *cut = retention.jobs_before(end, now);
        if retention.jobs_kept() < i64::MAX {
            // The first one too many; those that ended with it go with the next.
            let too_many: Option<i64> = connection
                .query_row(NTH_JOB, params![end, retention.jobs_kept()], |row| row.get(0))
                .optional()?;
            *cut = too_many.map_or(*cut, |at| (*cut).max(at.saturating_add(1)));
        }
        let first: Option<i64> = connection.query_row(FIRST_JOB, [end], |row| row.get(0))?;
        is_any |= first.is_some_and(|first| first < *cut);
    }
    Ok(is_any.then_some(Excess { changes: (before, up_to), jobs }))
}

/// Removes as much as fits into a step; tells whether there is more.
pub(super) fn remove(connection: &Connection, excess: &Excess) -> Result<bool, Error> {
    let began = Instant::now();
    let (before, up_to) = excess.changes;
    let mut ending = connection.prepare_cached(ENDING)?;
    while began.elapsed() < STEP {
        let found: Option<i64> = ending.query_row([before, up_to, BITE], |row| row.get(0))?;
        let Some(to) = found else { break };
        connection.prepare_cached(MARK)?.execute([to])?;
        let removed = connection.prepare_cached(REMOVE)?.execute([to])?;
        figures::TRIMMED.with_label_values(&["changes"]).inc_by(removed as u64);
    }
    for (end, before) in ENDS.iter().zip(excess.jobs) {
        loop {
            if began.elapsed() >= STEP {
                return Ok(true);
            }
            let removed = connection.prepare_cached(REMOVE_JOBS)?.execute(params![end, before, BITE])?;
            figures::TRIMMED.with_label_values(&["jobs"]).inc_by(removed as u64);
            if removed == 0 {
                break;
            }
        }
    }
    Ok(false)
}
