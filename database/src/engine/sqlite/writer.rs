//! The one writer: it drains its channel, writes what every caller wants, commits once and answers everyone.
//!
//! So many callers share one fsync, and one caller's refusal leaves the others (`group`). Who asks while a batch is
//! being written still joins it. Nothing is answered before the commit: also a refusal may rest on what another caller
//! of the same batch wrote.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rand::rngs::StdRng;
use rusqlite::Connection;
use tokio::sync::oneshot;

use super::between::Errand;
use super::chores::Chore;
use super::group::Batch;
use super::index_table::Step;
use super::upkeep::Upkeep;
use super::{connection, job_moves};
use crate::backup::{Safety, Shipping};
use crate::engine::failures::{FailureLog, not_done};
use crate::engine::wakes::{Effects, Wakes};
use crate::engine::writable::Writable;
use crate::job::backoff::Backoff;
use crate::{Committed, Declaration, Error, Job, JobCommand, Transaction, figures, time};

/// The longest the writer sleeps while leases are held: a clock that was set is noticed after this.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);

/// How long the writer pauses when the database cannot be opened again after a failure.
const REOPEN_PAUSE: Duration = Duration::from_millis(100);

/// How often a database that failed is tried while nobody writes, and the backup's policy asked.
const PROBE_EVERY: Duration = Duration::from_secs(1);

/// What callers are told whose write is here and not at the backup's destination.
const NOT_SHIPPED: &str = "it was written, and the backup destination did not take it yet";

/// What the writer is asked.
pub(super) enum Message {
    /// Do this and answer.
    Write(Task),
    /// Do this between two commits.
    Errand(Errand),
    /// Finish what came before and end.
    Stop,
}

impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Message")
    }
}

/// One caller's work and where its answer goes.
pub(super) struct Task {
    pub(super) work: Work,
    pub(super) answer: oneshot::Sender<Result<Done, Error>>,
}

impl Task {
    /// Whether it can be written in a batch that began before it came.
    pub(super) fn may_join(&self) -> bool {
        matches!(self.work, Work::Transact(_))
    }
}

/// What a caller wants written.
pub(super) enum Work {
    Transact(Transaction),
    Command(JobCommand),
    /// What a collection of a namespace declares.
    Declare(String, Declaration),
    /// Nothing new, durably: to see whether it goes.
    Probe,
    /// A step of what is to be done besides.
    Tend(Chore),
}

/// How one caller's work ended.
pub(super) type WorkResult = Result<Done, Error>;

/// What was written.
pub(super) enum Done {
    Committed(Committed),
    Jobs(Vec<Job>),
    Declared,
    Probed,
    Tended(Step),
}

/// The state of the writer thread.
pub(super) struct Writer {
    pub(super) file: PathBuf,
    /// `None` after a failure, until it is opened again.
    pub(super) connection: Option<Connection>,
    pub(super) inbox: Receiver<Message>,
    /// What came while a batch was written and did not join it: it begins the next.
    pub(super) held: VecDeque<Message>,
    pub(super) batch: usize,
    /// In bytes.
    pub(super) page_cache: u64,
    pub(super) backoff: Backoff,
    pub(super) rng: StdRng,
    pub(super) wakes: Arc<Wakes>,
    pub(super) upkeep: Upkeep,
    /// Pages in the write-ahead log, told by SQLite's hook after each commit.
    pub(super) log_pages: Arc<AtomicU32>,
    /// Whether writes go.
    pub(super) writable: Writable,
    pub(super) last_now: Timestamp,
    pub(super) next_expiry: Option<Timestamp>,
    pub(super) failures: FailureLog,
    /// The continuous backup, if there is one.
    pub(super) shipping: Option<Shipping>,
}

impl Writer {
    /// Works until it is told to stop or nobody can ask any more.
    pub(super) fn run(mut self) {
        self.next_expiry = self.connection.as_ref().and_then(|c| job_moves::next_expiry(c).ok().flatten());
        loop {
            let first = match (self.held.pop_front(), self.longest_sleep()) {
                (Some(held), _) => Ok(held),
                (None, None) => self.inbox.recv().map_err(|_| RecvTimeoutError::Disconnected),
                (None, Some(sleep)) => self.inbox.recv_timeout(sleep),
            };
            let mut stop = matches!(first, Err(RecvTimeoutError::Disconnected));
            let (mut batch, mut errands) = (Batch::default(), Vec::new());
            if first.is_err() && !stop && self.writable.has_failed() {
                // Nobody writes: whether the disk is well again is found out all the same.
                batch.push(Task { work: Work::Probe, answer: oneshot::channel().0 });
            }
            let mut next = first.ok();
            while let Some(message) = next {
                match message {
                    Message::Write(task) => batch.push(task),
                    Message::Errand(errand) => errands.push(errand),
                    Message::Stop => stop = true,
                }
                let has_room = batch.work.len() < self.batch && !stop;
                next = if has_room {
                    self.held.pop_front().or_else(|| self.inbox.try_recv().ok())
                } else {
                    None
                };
            }
            self.write(batch);
            errands.into_iter().for_each(|errand| errand(self.log_pages.load(Ordering::Relaxed)));
            if stop {
                break;
            }
        }
        // Callers that asked after the stop: nothing of theirs was done.
        for message in self.held.into_iter().chain(self.inbox.try_iter()) {
            if let Message::Write(task) = message {
                let _ = task.answer.send(Err(Error::Unavailable { reason: "it is stopping".into() }));
            }
        }
    }

    /// How long nothing is to be done unless somebody asks; `None` for ever.
    fn longest_sleep(&self) -> Option<Duration> {
        let expiry = self.next_expiry.map(|expiry| time::until(time::now(), expiry).min(LONGEST_SLEEP));
        // Without writes, too, it is noted whether they would be refused.
        let may_refuse = self.shipping.as_ref().is_some_and(Shipping::may_refuse);
        match self.writable.has_failed() || may_refuse {
            false => expiry,
            true => Some(expiry.unwrap_or(PROBE_EVERY).min(PROBE_EVERY)),
        }
    }

    /// Writes a batch with one commit and answers everyone.
    fn write(&mut self, mut batch: Batch) {
        let started = Instant::now();
        let now = time::now().max(self.last_now);
        self.last_now = now;
        let refusal = self.shipping.as_ref().and_then(Shipping::refusal);
        self.writable.note_refusal(refusal.is_some());
        if batch.work.is_empty() && self.next_expiry.is_none_or(|expiry| expiry > now) {
            return;
        }
        if let Some(refusal) = refusal {
            if batch.answers.is_empty() {
                // Leases that ran out wait for it too.
                std::thread::sleep(REOPEN_PAUSE);
            }
            batch.answers.into_iter().for_each(|answer| drop(answer.send(Err(refusal.clone()))));
            return;
        }
        let mut effects = Effects::default();
        let committed = self.commit(&mut batch, &mut effects);
        let Batch { work, answers } = batch;
        let size = work.len();
        match committed {
            Ok(results) => {
                self.writable.note(true);
                let results = work.into_iter().zip(results).map(|(work, result)| match (work, result) {
                    (Work::Transact(transaction), Ok(Done::Committed(mut committed))) => {
                        transaction.complete(&mut committed);
                        Ok(Done::Committed(committed))
                    }
                    (_, result) => result.map_err(|error| self.explain(error)),
                });
                let results: Vec<_> = answers.into_iter().zip(results).collect();
                let log_pages = self.log_pages.load(Ordering::Relaxed);
                match &self.shipping {
                    None => answer_all(results, Safety::Safe),
                    Some(shipping) => {
                        shipping.note_commit(
                            log_pages,
                            self.last_now,
                            Box::new(|safety| answer_all(results, safety)),
                        );
                    }
                }
                self.wakes.wake(&effects.topics);
                self.upkeep.note_log(log_pages);
            }
            Err(failed) => {
                self.failures.say(failed.reason(), answers.len());
                figures::FAILED_COMMITS.with_label_values::<&str>(&[]).inc();
                self.writable.note(false);
                // Whatever state the connection is in, a fresh one is in none.
                self.connection = None;
                for answer in answers {
                    let _ = answer.send(Err(failed.answer()));
                }
                if self.open().is_err() {
                    std::thread::sleep(REOPEN_PAUSE);
                }
            }
        }
        figures::COMMIT_SECONDS.with_label_values::<&str>(&[]).observe(started.elapsed().as_secs_f64());
        figures::BATCH_SIZE.observe(size as f64);
    }

    /// Says one caller's failure in the log instead of to the caller.
    fn explain(&mut self, error: Error) -> Error {
        match error {
            Error::Storage { reason } => {
                self.failures.say(&reason, 1);
                not_done()
            }
            error => error,
        }
    }

    /// Opens the database unless it is open.
    pub(super) fn open(&mut self) -> rusqlite::Result<()> {
        if self.connection.is_none() {
            let connection = open_counted(&self.file, &self.log_pages, self.page_cache)?;
            if self.shipping.is_some() {
                connection::keep_log(&connection)?;
            }
            self.next_expiry = job_moves::next_expiry(&connection)?;
            self.connection = Some(connection);
        }
        Ok(())
    }
}

/// Answers a batch; one that is not known to be at the backup's destination promises nothing to who wrote.
fn answer_all(results: Vec<(oneshot::Sender<WorkResult>, WorkResult)>, safety: Safety) {
    for (answer, result) in results {
        let _ = answer.send(match safety {
            Safety::Safe => result,
            Safety::Unknown => result.and(Err(Error::Unknown { reason: NOT_SHIPPED.into() })),
        });
    }
}

/// Opens the writer's connection and has SQLite tell how long the log is after each commit.
pub(super) fn open_counted(
    file: &std::path::Path,
    log_pages: &Arc<AtomicU32>,
    page_cache: u64,
) -> rusqlite::Result<Connection> {
    let mut connection = connection::open_writer(file)?;
    connection::set_page_cache(&connection, page_cache)?;
    let log_pages = Arc::clone(log_pages);
    connection.wal_hook(Some(move |_: &mut rusqlite::hooks::Wal, pages: i32| {
        log_pages.store(pages.unsigned_abs(), Ordering::Relaxed);
        Ok(())
    }))?;
    Ok(connection)
}

#[cfg(test)]
#[path = "writer_tests.rs"]
mod tests;
