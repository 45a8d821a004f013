//! What the writer does besides, in small steps between its callers: indexes of what was there already, removing what is
//! too old, and giving back what is free.
//!
//! A thread asks the writer for one step after the other, as any caller would, so that a step shares its commit with
//! whoever writes at the time, and the next one is asked for only when that is durable. A step is short
//! ([`index_table`]), and so nobody waits long for one.

use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use tokio::sync::{Notify, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::declared::Declarations;
use super::group::Moment;
use super::index_table::{self, Step};
use super::trim::{self, Excess};
use super::vacuum::{self, Space};
use super::writer::{self, Done, Task, Work};
use crate::backup::Shipping;
use crate::engine::OpenError;
use crate::{Error, Retention, time};

/// The pause when the writer does not take a step: it has too much to do, or cannot write.
const PAUSE: Duration = Duration::from_millis(200);

/// The pause after a step that gave space back: nobody waits for that, so most of the time is left to others, the more of
/// it the longer a step takes.
const LEAST_REST: Duration = Duration::from_millis(10);
const REST_FACTOR: u32 = 4;

/// The engine's end of the thread.
#[derive(Debug)]
pub(super) struct Chores {
    news: Arc<Notify>,
    stop: CancellationToken,
    turned: watch::Receiver<u64>,
}

/// What the thread works with.
#[derive(Debug)]
pub(super) struct Means {
    /// The writer that does the steps.
    pub(super) writer: SyncSender<writer::Message>,
    /// A connection to look with.
    pub(super) reader: Connection,
    pub(super) declarations: Arc<Declarations>,
    pub(super) retention: Retention,
    /// The continuous backup, which has to carry away what the steps write.
    pub(super) shipping: Option<Shipping>,
}

impl Chores {
    /// Starts the thread; what an earlier process left undone it goes on with at once.
    pub(super) fn start(means: Means) -> Result<(Self, JoinHandle<()>), OpenError> {
        let (news, stop) = (Arc::new(Notify::new()), CancellationToken::new());
        let (turns, turned) = watch::channel(0);
        let worker = Worker { means, news: Arc::clone(&news), stop: stop.clone(), turns };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        let thread = std::thread::Builder::new()
            .name("db-chores".to_owned())
            .spawn(move || runtime.block_on(worker.run()))?;
        Ok((Self { news, stop, turned }, thread))
    }

    /// Says that there is something to do.
    pub(super) fn look(&self) {
        self.news.notify_one();
    }

    /// Gives what changes each time an index is finished or given up.
    pub(super) fn turned(&self) -> watch::Receiver<u64> {
        self.turned.clone()
    }

    /// Ends the thread; it does not wait until the step it asked for is durable.
    pub(super) fn stop(&self) {
        self.stop.cancel();
    }
}

/// What the writer is asked for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Chore {
    /// A step of the oldest index that is not finished.
    Index,
    /// To remove some of what is too old or too much.
    Trim(Excess),
    /// To give some free pages back.
    Vacuum,
}

/// What is to be done, as of the last look.
#[derive(Debug, Default)]
struct Due {
    excess: Option<Excess>,
    /// How the pages were used when it was found that too many are free.
    space: Option<Space>,
}

/// The thread's state.
struct Worker {
    means: Means,
    news: Arc<Notify>,
    stop: CancellationToken,
    turns: watch::Sender<u64>,
}

impl Worker {
    async fn run(self) {
        // At the start it is not known whether there is something.
        let (mut patience, mut due, mut look_at) = (Duration::ZERO, Due::default(), Instant::now());
        loop {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                () = self.news.notified() => {}
                () = tokio::time::sleep(patience) => {}
            }
            if Instant::now() >= look_at {
                self.look(&mut due);
                look_at = Instant::now() + self.means.retention.every;
            }
            let began = Instant::now();
            patience = match self.step(&mut due).await {
                Ok(None) => look_at.saturating_duration_since(Instant::now()),
                Ok(Some(Chore::Vacuum)) => LEAST_REST.max(began.elapsed() * REST_FACTOR),
                Ok(Some(Chore::Index | Chore::Trim(_))) => Duration::ZERO,
                Err(error) => {
                    tracing::debug!(%error, "a chore waits");
                    PAUSE
                }
            };
        }
    }

    /// Finds out what is too old and what is free.
    fn look(&self, due: &mut Due) {
        let Means { reader, retention, .. } = &self.means;
        due.excess = trim::find(reader, retention, time::now()).unwrap_or_else(|error| {
            tracing::warn!(%error, "it is not known what is too old");
            None
        });
        // Once begun it goes on to its end, which is less than what it begins with.
        if due.space.is_none() {
            due.space = vacuum::find(reader).unwrap_or_else(|error| {
                tracing::warn!(%error, "it is not known how much is free");
                None
            });
        }
    }

    /// Does one step, if there is one to do, and waits until it is durable.
    async fn step(&self, due: &mut Due) -> Result<Option<Chore>, Error> {
        let chore = match due {
            _ if index_table::is_any(&self.means.reader)? => Chore::Index,
            Due { excess: Some(excess), .. } => Chore::Trim(*excess),
            Due { space: Some(_), .. } => Chore::Vacuum,
            Due { excess: None, space: None } => return Ok(None),
        };
        let is_behind = |shipping: &Shipping| !shipping.has_room();
        if matches!(chore, Chore::Vacuum) && self.means.shipping.as_ref().is_some_and(is_behind) {
            return Err(Error::Unavailable { reason: "the backup is behind".into() });
        }
        match (self.ask(chore).await?, chore) {
            (Step::Turned, _) => self.tell(),
            (Step::Idle, Chore::Trim(_)) => due.excess = None,
            (Step::Idle, Chore::Vacuum) => self.end_vacuum(due)?,
            (Step::Idle, Chore::Index) | (Step::Goes, _) => {}
        }
        Ok(Some(chore))
    }

    /// Has the writer do a step.
    async fn ask(&self, chore: Chore) -> Result<Step, Error> {
        let (answer, answered) = oneshot::channel();
        let task = Task { work: Work::Tend(chore), answer };
        self.means.writer.try_send(writer::Message::Write(task)).map_err(|error| match error {
            TrySendError::Full(_) => Error::Overloaded,
            TrySendError::Disconnected(_) => Error::Unavailable { reason: "it is stopped".into() },
        })?;
        match self.stop.run_until_cancelled(answered).await {
            Some(Ok(Ok(Done::Tended(step)))) => Ok(step),
            Some(Ok(Ok(_))) => Err(super::mixed_up()),
            Some(Ok(Err(error))) => Err(error),
            Some(Err(_)) => Err(Error::Unavailable { reason: "the writer ended".into() }),
            None => Err(Error::Unavailable { reason: "it is stopping".into() }),
        }
    }

    /// Has questions answered by what is declared now, and wakes who waits for that.
    fn tell(&self) {
        if let Err(error) = self.means.declarations.refresh_all(&self.means.reader) {
            tracing::warn!(%error, "a finished index is used from the next declaration on");
        }
        self.turns.send_modify(|turns| *turns += 1);
    }

    fn end_vacuum(&self, due: &mut Due) -> Result<(), Error> {
        if let Some(before) = due.space.take() {
            let (from_bytes, to_bytes) = (before.bytes(), Space::read(&self.means.reader)?.bytes());
            tracing::info!(from_bytes, to_bytes, "free space was given back");
        }
        Ok(())
    }
}

/// Does one step; within a savepoint of the writer's.
pub(super) fn tend(moment: &Moment<'_>, chore: Chore) -> Result<Step, Error> {
    match chore {
        Chore::Index => index_table::advance(moment.connection),
        Chore::Trim(excess) => {
            let is_more = trim::remove(moment.connection, &excess)?;
            Ok(if is_more { Step::Goes } else { Step::Idle })
        }
        Chore::Vacuum => vacuum::advance(moment.connection),
    }
}

#[cfg(test)]
#[path = "chores_tests.rs"]
mod tests;
