//! What a batch consists of: one transaction in which every caller's part is whole or not there.

use std::time::Instant;

use jiff::Timestamp;
use rand::rngs::StdRng;
use rusqlite::Connection;

use super::counts::Counts;
use super::declared::Making;
use super::failure::Failed;
use super::writer::{Done, Outcome, Work, Writer};
use super::{chores, declared, job_moves, records, schema};
use crate::engine::wakes::Effects;
use crate::job::backoff::Backoff;
use crate::{Error, figures};

/// What one operation needs: the open transaction, the time, a random source, and where its effects are noted.
pub(super) struct Moment<'a> {
    pub(super) connection: &'a Connection,
    pub(super) now: Timestamp,
    pub(super) backoff: Backoff,
    pub(super) rng: &'a mut StdRng,
    pub(super) effects: &'a mut Effects,
    /// By how much collections grow or shrink.
    pub(super) counts: &'a mut Counts,
}

/// How one caller's refusal leaves the others what they wrote.
///
/// A savepoint a caller costs a quarter of a create: SQLite copies every page that is written first within it. Nearly
/// all refusals come before anything was written and leave nothing to undo, so a batch is tried without savepoints
/// and, if it must undo one caller's part, undone as a whole and done again with them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Undo {
    /// The whole batch.
    Batch,
    /// What the caller wrote since its savepoint.
    Caller,
}

impl Writer {
    /// Does what every caller wants and commits it; `now` is the time of all of it.
    pub(super) fn commit(
        &mut self,
        work: &[Work],
        now: Timestamp,
        effects: &mut Effects,
    ) -> Result<Vec<Outcome>, Failed> {
        self.open()?;
        // What these change is not all counted in rows.
        if !work.iter().any(|one| matches!(one, Work::Declare(..) | Work::Tend(_)))
            && let Some(results) = self.try_commit(work, now, effects, Undo::Batch)?
        {
            return Ok(results);
        }
        *effects = Effects::default();
        let results = self.try_commit(work, now, effects, Undo::Caller)?;
        results.ok_or_else(|| rusqlite::Error::InvalidQuery.into())
    }

    /// Commits the batch; `None` if one caller's part would have to be undone and cannot be, then nothing is done.
    fn try_commit(
        &mut self,
        work: &[Work],
        now: Timestamp,
        effects: &mut Effects,
        undo: Undo,
    ) -> Result<Option<Vec<Outcome>>, Failed> {
        let Self { connection: Some(connection), backoff, rng, next_expiry, .. } = self else {
            return Err(rusqlite::Error::InvalidQuery.into());
        };
        let connection: &Connection = connection;
        let changes_before = connection.total_changes();
        connection.prepare_cached("BEGIN IMMEDIATE")?.execute(())?;
        let mut counts = Counts::default();
        let counts = &mut counts;
        let mut moment = Moment { connection, now, backoff: *backoff, rng, effects, counts };
        if next_expiry.is_some_and(|expiry| expiry <= now) {
            within_savepoint(&mut moment, job_moves::expire)?.unwrap_or_else(|error| {
                tracing::error!(%error, "leases that ran out could not be taken back");
            });
            moment.effects.leases = true;
        }
        let mut results = Vec::with_capacity(work.len());
        for one in work {
            let result = match undo {
                Undo::Caller => within_savepoint(&mut moment, |moment| perform(moment, one))?,
                Undo::Batch => {
                    let written = connection.total_changes();
                    let result = perform(&mut moment, one);
                    let is_clean = connection.total_changes() == written
                        && !matches!(result, Err(Error::Storage { .. }));
                    if result.is_err() && !is_clean {
                        // A failing disk may have made SQLite undo it already.
                        if !connection.is_autocommit() {
                            connection.prepare_cached("ROLLBACK")?.execute(())?;
                        }
                        return Ok(None);
                    }
                    moment.counts.end_caller(result.is_ok());
                    result
                }
            };
            results.push(result);
        }
        moment.counts.write(connection)?;
        if effects.leases {
            *next_expiry = job_moves::next_expiry(connection)?;
        }
        let started = Instant::now();
        connection.prepare_cached("COMMIT")?.execute(()).map_err(Failed::in_commit)?;
        if connection.total_changes() != changes_before {
            figures::FSYNC_SECONDS.with_label_values::<&str>(&[]).observe(started.elapsed().as_secs_f64());
        }
        Ok(Some(results))
    }
}

/// Does what one caller wants.
fn perform(moment: &mut Moment<'_>, work: &Work) -> Result<Done, Error> {
    match work {
        Work::Transact(transaction) => records::transact(moment, transaction).map(Done::Committed),
        Work::Command(command) => job_moves::perform(moment, command).map(Done::Jobs),
        Work::Declare(namespace, declaration) => {
            declared::declare(moment.connection, namespace, declaration, Making::Online)
                .map(|()| Done::Declared)
        }
        Work::Probe => schema::write_again(moment.connection).map(|()| Done::Probed),
        Work::Tend(chore) => chores::tend(moment, *chore).map(Done::Tended),
    }
}

/// Does one caller's work in a savepoint: an inner error undoes just that, an outer one the whole batch.
fn within_savepoint<T>(
    moment: &mut Moment<'_>,
    work: impl FnOnce(&mut Moment<'_>) -> Result<T, Error>,
) -> Result<Result<T, Error>, Failed> {
    let connection = moment.connection;
    connection.prepare_cached("SAVEPOINT caller")?.execute(())?;
    let result = work(moment);
    if let Err(cause) = &result {
        // A full disk or a failing one may have made SQLite undo the whole transaction: then this fails too.
        let undone = connection.prepare_cached("ROLLBACK TO caller").and_then(|mut undo| undo.execute(()));
        undone.map_err(|error| Failed::after(cause, error))?;
    }
    connection.prepare_cached("RELEASE caller")?.execute(())?;
    moment.counts.end_caller(result.is_ok());
    Ok(result)
}
