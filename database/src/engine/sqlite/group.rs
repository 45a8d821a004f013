//! What a batch consists of: one transaction in which every caller's part is whole or not there.

use std::collections::VecDeque;
use std::sync::mpsc::Receiver;
use std::time::Instant;

use jiff::Timestamp;
use rand::rngs::StdRng;
use rusqlite::Connection;
use tokio::sync::oneshot;

use super::counts::Counts;
use super::declared::Making;
use super::failure::Failed;
use super::writer::{Done, Message, Task, Work, WorkResult, Writer};
use super::{chores, declared, job_moves, records, schema};
use crate::engine::wakes::Effects;
use crate::job::backoff::Backoff;
use crate::{Error, figures, time};

/// Latecomers join a batch if they are at least one for so many that are in it.
pub(super) const HASTE: usize = 2;

/// What one commit writes, and where its answers go: one each.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) work: Vec<Work>,
    pub(super) answers: Vec<oneshot::Sender<WorkResult>>,
}

impl Batch {
    pub(super) fn push(&mut self, Task { work, answer }: Task) {
        self.work.push(work);
        self.answers.push(answer);
    }

    /// Takes in who asked since the batch began, up to `limit`, and tells whether anybody did.
    ///
    /// While some wait for one flush the others come back for the next: without this each is shared by half of them.
    /// Callers that come back slowly are better left to do so while the flush is under way (over HTTP on two cores all
    /// in one batch is a tenth slower than halves in turn), so they join only if they come at [`HASTE`] of the pace at
    /// which the batch is written. Only transactions join: what is due by the clock, what changes more than rows, and
    /// errands between two commits need a batch that begins after they came.
    fn take_latecomers(
        &mut self,
        inbox: &Receiver<Message>,
        held: &mut VecDeque<Message>,
        limit: usize,
    ) -> bool {
        let before = self.work.len();
        held.extend(inbox.try_iter().take(limit.saturating_sub(before + held.len())));
        if held.len() < before / HASTE {
            return false;
        }
        while self.work.len() < limit && matches!(held.front(), Some(Message::Write(task)) if task.may_join())
        {
            if let Some(Message::Write(task)) = held.pop_front() {
                self.push(task);
            }
        }
        self.work.len() > before
    }
}

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
    /// Does what every caller wants and commits it, from `last_now` on: those who join have the time they joined at.
    pub(super) fn commit(
        &mut self,
        batch: &mut Batch,
        effects: &mut Effects,
    ) -> Result<Vec<WorkResult>, Failed> {
        self.open()?;
        // What these change is not all counted in rows.
        if !batch.work.iter().any(|one| matches!(one, Work::Declare(..) | Work::Tend(_)))
            && let Some(results) = self.try_commit(batch, effects, Undo::Batch)?
        {
            return Ok(results);
        }
        *effects = Effects::default();
        let results = self.try_commit(batch, effects, Undo::Caller)?;
        results.ok_or_else(|| rusqlite::Error::InvalidQuery.into())
    }

    /// Commits the batch; `None` if one caller's part would have to be undone and cannot be, then nothing is done.
    fn try_commit(
        &mut self,
        batch: &mut Batch,
        effects: &mut Effects,
        undo: Undo,
    ) -> Result<Option<Vec<WorkResult>>, Failed> {
        let Self { connection: Some(connection), backoff, rng, next_expiry, inbox, held, last_now, .. } =
            self
        else {
            return Err(rusqlite::Error::InvalidQuery.into());
        };
        let (limit, now) = (self.batch, *last_now);
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
        let mut results = Vec::with_capacity(batch.work.len());
        loop {
            if results.len() == batch.work.len() {
                if !batch.take_latecomers(inbox, held, limit) {
                    break;
                }
                // What they write was not made before they asked.
                *last_now = time::now().max(moment.now);
                moment.now = *last_now;
            }
            let one = &batch.work[results.len()];
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
            // Who declared looks for what is missing, once the rest is durable.
            declared::declare(moment.connection, namespace, declaration, Making::Online)
                .map(|_contradicted| Done::Declared)
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
