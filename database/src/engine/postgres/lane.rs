//! Group commit: a lane takes what its callers wait for, does it in one transaction, and answers everyone.
//!
//! A lane has one connection. A batch costs two turns of the network and one flush of the server's log,
//! however many callers it has: one turn to lock and read what they name, then, everything decided in
//! memory, one to write and commit. Nothing is answered before the commit; when its answer is lost, the
//! server is asked what became of the transaction.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::fault::{Fault, Verdict};
use super::link::Link;
use super::session::Session;
use super::signal::Signal;
use super::transfer::MARK;
use crate::engine::failures::{FailureLog, not_done};
use crate::engine::wakes::Topic;
use crate::engine::writable::Writable;
use crate::{Error, figures};

/// How long a caller waits for its answer; less than a client of the role waits for the role's.
const DEADLINE: Duration = Duration::from_millis(4500);

/// How long a caller may have waited when its turn comes; the rest of its time is for the work itself.
const LONGEST_QUEUE: Duration = Duration::from_millis(2250);

/// How often a batch is tried.
const ATTEMPTS: u32 = 4;

/// How long a lane pauses between two attempts.
const PAUSE: Duration = Duration::from_millis(20);

const TRANSACTION_STATUS: &str = include_str!("sql/transaction_status.sql");

/// One caller's work and where its answer goes.
pub(super) struct Task<W, D> {
    pub(super) work: W,
    pub(super) answer: oneshot::Sender<Result<D, Error>>,
    pub(super) since: Instant,
}

/// What a batch did once it is durable.
#[derive(Debug)]
pub(super) struct Written<D> {
    /// Each caller's answer, in order.
    pub(super) results: Vec<Result<D, Error>>,
    /// Whom to wake.
    pub(super) topics: BTreeSet<Topic>,
    /// Whether anything was written: a batch that only read or refused says nothing about whether writes go.
    pub(super) has_written: bool,
}

/// Why a batch has no result.
#[derive(Debug)]
pub(super) enum Failed<D> {
    /// Nothing of it was done.
    NotDone {
        /// What happened.
        fault: Fault,
        /// Which of the writing statements failed; the server has then rolled back, and the connection is well.
        at: Option<usize>,
    },
    /// Its commit was sent and not answered.
    InDoubt {
        /// The transaction's name at the server.
        transaction: String,
        /// What it did if it was committed.
        written: Written<D>,
        /// What happened.
        fault: Fault,
    },
}

impl<D, F: Into<Fault>> From<F> for Failed<D> {
    fn from(fault: F) -> Self {
        Self::NotDone { fault: fault.into(), at: None }
    }
}

/// What a lane does with a batch.
pub(super) trait Batch: Send {
    /// What one caller asks.
    type Work: Send + Sync;
    /// What one caller is answered.
    type Done: Send;

    /// Does a batch in one transaction.
    fn commit(
        &mut self,
        session: &Session,
        work: &[Self::Work],
        deadline: Instant,
    ) -> impl Future<Output = Result<Written<Self::Done>, Failed<Self::Done>>> + Send;

    /// How much of a batch one caller's work fills; a batch ends once it holds [`Batch::ROOM`].
    fn size(work: &Self::Work) -> usize;

    /// How much a batch holds.
    const ROOM: usize;

    /// When there is work although nobody asks.
    fn due(&self) -> Option<Instant>;
}

/// A lane's state.
pub(super) struct Lane<B: Batch> {
    pub(super) batch: B,
    pub(super) link: Arc<Link>,
    pub(super) inbox: mpsc::Receiver<Task<B::Work, B::Done>>,
    /// The most callers of a batch.
    pub(super) most: usize,
    pub(super) signal: Arc<Signal>,
    /// Whether the last commit of something written succeeded; of both lanes.
    pub(super) writable: Writable,
    pub(super) failures: FailureLog,
}

impl<B: Batch> Lane<B> {
    /// Works until it is told to stop, then finishes what was asked before.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        loop {
            let due = self.batch.due();
            let first = tokio::select! {
                first = self.inbox.recv() => match first {
                    Some(first) => Some(first),
                    None => return,
                },
                () = sleep_until(due) => None,
                () = stop.cancelled(), if !self.inbox.is_closed() => {
                    // What is in the channel is still received; then `recv` ends the loop.
                    self.inbox.close();
                    continue;
                }
            };
            let (mut tasks, mut room) = (Vec::new(), B::ROOM);
            let mut next = first;
            while let Some(task) = next {
                room = room.saturating_sub(B::size(&task.work));
                tasks.push(task);
                let is_full = tasks.len() >= self.most || room == 0;
                next = if is_full { None } else { self.inbox.try_recv().ok() };
            }
            self.answer(tasks).await;
        }
    }

    async fn answer(&mut self, tasks: Vec<Task<B::Work, B::Done>>) {
        let now = Instant::now();
        let (mut work, mut answers, mut since) = (Vec::new(), Vec::new(), now);
        for task in tasks {
            if now.duration_since(task.since) > LONGEST_QUEUE {
                let reason = "PostgreSQL is too slow at present".into();
                let _ = task.answer.send(Err(Error::Unavailable { reason }));
                continue;
            }
            since = since.min(task.since);
            work.push(task.work);
            answers.push(task.answer);
        }
        let is_look = work.is_empty();
        let results = self.settle(&work, since + DEADLINE).await;
        for (answer, result) in answers.into_iter().zip(results) {
            let _ = answer.send(result);
        }
        if !is_look {
            let seconds = now.elapsed().as_secs_f64();
            figures::COMMIT_SECONDS.with_label_values::<&str>(&[]).observe(seconds);
            figures::BATCH_SIZE.observe(work.len() as f64);
        }
    }

    /// Does a batch as often as it takes, in parts where one caller would spoil it for the others.
    async fn settle(&mut self, work: &[B::Work], deadline: Instant) -> Vec<Result<B::Done, Error>> {
        let mut attempt = 1;
        let (verdict, answer) = loop {
            let (verdict, answer) = match self.attempt(work, deadline).await {
                Ok(written) => {
                    if written.has_written {
                        self.writable.note(true);
                    }
                    self.signal.wake(written.topics);
                    return written.results;
                }
                Err(Unsettled { verdict, answer, reason }) => {
                    self.say(&reason, work.len(), verdict, attempt);
                    (verdict, answer)
                }
            };
            let may_repeat = matches!(verdict, Verdict::Repeat | Verdict::Reconnect);
            if !may_repeat || attempt == ATTEMPTS || Instant::now() + PAUSE > deadline {
                break (verdict, answer);
            }
            attempt += 1;
            tokio::time::sleep(PAUSE).await;
        };
        if verdict == Verdict::Blame && work.len() > 1 {
            let (one, other) = work.split_at(work.len() / 2);
            let mut results = Box::pin(self.settle(one, deadline)).await;
            results.extend(Box::pin(self.settle(other, deadline)).await);
            return results;
        }
        if verdict != Verdict::Blame {
            figures::FAILED_COMMITS.with_label_values::<&str>(&[]).inc();
            self.writable.note(false);
        }
        work.iter().map(|_| Err(answer.clone())).collect()
    }

    async fn attempt(&mut self, work: &[B::Work], deadline: Instant) -> Result<Written<B::Done>, Unsettled> {
        let session = match tokio::time::timeout_at(deadline, self.link.session()).await {
            Ok(Ok(session)) => session,
            Ok(Err(fault)) => return Err(Unsettled::not_connected(&fault)),
            Err(_) => return Err(Unsettled::not_done(&Fault::TimedOut)),
        };
        match self.batch.commit(&session, work, deadline).await {
            Ok(written) => Ok(written),
            Err(Failed::NotDone { fault, at }) => {
                if at.is_none() || fault.verdict() == Verdict::Reconnect {
                    // Whatever state the connection is in, a fresh one is in none.
                    self.link.discard(&session).await;
                }
                Err(Unsettled::not_done(&fault))
            }
            Err(Failed::InDoubt { transaction, written, fault }) => {
                self.link.discard(&session).await;
                match self.ask_after(&transaction, &session, deadline).await {
                    Some(true) => Ok(written),
                    Some(false) => Err(Unsettled::not_done(&fault)),
                    None => Err(Unsettled::unknown(&fault)),
                }
            }
        }
    }

    /// Asks whether a transaction was committed; `None` if that cannot be learned in time.
    ///
    /// In another history the same name may belong to another transaction, and after a crash too: what had not reached
    /// the log then was not committed, and its name is given again.
    async fn ask_after(&self, transaction: &str, before: &Session, deadline: Instant) -> Option<bool> {
        while Instant::now() + PAUSE < deadline {
            tokio::time::sleep(PAUSE).await;
            let asking = async {
                let session = self.link.session().await.ok()?;
                if session.history != before.history {
                    return Some(None);
                }
                let row = match session.query_one(TRANSACTION_STATUS, &[&transaction]).await {
                    Ok(row) => row,
                    Err(_) => {
                        self.link.discard(&session).await;
                        return None;
                    }
                };
                match row.get::<_, Option<&str>>(0) {
                    Some("committed") if session.life != before.life => Some(None),
                    // Committed here: a server that crashed meanwhile has not waited for its standbys, of which a backup
                    // may be one. A later commit that is answered proves that they have this one too.
                    Some("committed") => match session.run(MARK).await {
                        Ok(()) => Some(Some(true)),
                        Err(_) => {
                            self.link.discard(&session).await;
                            None
                        }
                    },
                    Some("aborted") => Some(Some(false)),
                    Some(_) => None,
                    None => Some(None),
                }
            };
            if let Ok(Some(answer)) = tokio::time::timeout_at(deadline, asking).await {
                return answer;
            }
        }
        None
    }

    fn say(&mut self, reason: &str, callers: usize, verdict: Verdict, attempt: u32) {
        if verdict == Verdict::Blame {
            tracing::debug!(reason, callers, "a caller is refused");
            return;
        }
        // A connection that broke while nothing was under way is replaced, and nobody notices.
        if callers == 0 || (attempt == 1 && verdict != Verdict::GiveUp) {
            tracing::debug!(reason, callers, "a transaction failed and is tried again");
        } else {
            self.failures.say(reason, callers);
        }
    }
}

/// Why an attempt has no result, what to do, and what to say if nothing more is done.
struct Unsettled {
    verdict: Verdict,
    answer: Error,
    reason: String,
}

impl Unsettled {
    fn not_done(fault: &Fault) -> Self {
        let verdict = fault.verdict();
        let answer = if verdict == Verdict::Blame { fault.answer() } else { not_done() };
        Self { verdict, answer, reason: fault.to_string() }
    }

    fn not_connected(fault: &Fault) -> Self {
        let verdict = if fault.may_pass() { Verdict::Reconnect } else { fault.verdict() };
        // No caller is to blame for a password that changed.
        let verdict = if verdict == Verdict::Blame { Verdict::GiveUp } else { verdict };
        Self { verdict, answer: fault.answer(), reason: fault.to_string() }
    }

    fn unknown(fault: &Fault) -> Self {
        let answer = Error::Unknown { reason: "PostgreSQL did not answer the commit".into() };
        Self { verdict: Verdict::GiveUp, answer, reason: fault.to_string() }
    }
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}
