//! What the writer does besides, in small steps between its callers: indexes of what was there already, and removing
//! what is too old.
//!
//! A thread asks the writer for one step after the other, as any caller would, so that a step shares its commit with
//! whoever writes at the time, and the next one is asked for only when that is durable. A step is short
//! ([`index_table`]), and so nobody waits long for one.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use tokio::sync::{oneshot, watch};

use super::declared::Declarations;
use super::group::Moment;
use super::index_table::{self, Step};
use super::trim::{self, Excess};
use super::writer::{self, Done, Task, Work};
use crate::engine::OpenError;
use crate::{Error, Retention, time};

/// The pause when the writer does not take a step: it has too much to do, or cannot write.
const PAUSE: Duration = Duration::from_millis(200);

/// What the thread is told.
#[derive(Debug)]
enum Message {
    /// There is something to do.
    Look,
    Stop,
}

/// The engine's end of the thread.
#[derive(Debug)]
pub(super) struct Chores {
    outbox: SyncSender<Message>,
    turned: watch::Receiver<u64>,
}

impl Chores {
    /// Starts the thread; what an earlier process left undone it goes on with at once.
    pub(super) fn start(
        writer: SyncSender<writer::Message>,
        reader: Connection,
        declarations: Arc<Declarations>,
        retention: Retention,
    ) -> Result<(Self, JoinHandle<()>), OpenError> {
        let (outbox, inbox) = sync_channel(1);
        let (turns, turned) = watch::channel(0);
        let worker = Worker { writer, reader, declarations, retention, inbox, turns };
        let thread = std::thread::Builder::new().name("db-chores".to_owned()).spawn(move || worker.run())?;
        Ok((Self { outbox, turned }, thread))
    }

    /// Says that there is something to do.
    pub(super) fn look(&self) {
        // A full channel says so already.
        let _ = self.outbox.try_send(Message::Look);
    }

    /// Gives what changes each time an index is finished or given up.
    pub(super) fn turned(&self) -> watch::Receiver<u64> {
        self.turned.clone()
    }

    /// Ends the thread after the step it is at.
    pub(super) fn stop(&self) {
        let _ = self.outbox.send(Message::Stop);
    }
}

/// What the writer is asked for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Chore {
    /// A step of the oldest index that is not finished.
    Index,
    /// To remove some of what is too old or too much.
    Trim(Excess),
}

/// The thread's state.
struct Worker {
    writer: SyncSender<writer::Message>,
    reader: Connection,
    declarations: Arc<Declarations>,
    retention: Retention,
    inbox: Receiver<Message>,
    turns: watch::Sender<u64>,
}

impl Worker {
    fn run(self) {
        // At the start it is not known whether there is something.
        let (mut patience, mut excess, mut look_at) = (Duration::ZERO, None, Instant::now());
        loop {
            match self.inbox.recv_timeout(patience) {
                Ok(Message::Look) | Err(RecvTimeoutError::Timeout) => {}
                Ok(Message::Stop) | Err(RecvTimeoutError::Disconnected) => return,
            }
            if Instant::now() >= look_at {
                excess = trim::find(&self.reader, &self.retention, time::now()).unwrap_or_else(|error| {
                    tracing::warn!(%error, "it is not known what is too old");
                    None
                });
                look_at = Instant::now() + self.retention.every;
            }
            patience = match self.step(excess) {
                Ok(Step::Goes) => Duration::ZERO,
                Ok(Step::Turned) => {
                    self.tell();
                    Duration::ZERO
                }
                Ok(Step::Idle) => {
                    excess = None;
                    look_at.saturating_duration_since(Instant::now())
                }
                Err(error) => {
                    tracing::debug!(%error, "a chore waits");
                    PAUSE
                }
            };
        }
    }

    /// Has the writer do one step, if there is one to do, and waits until it is durable.
    fn step(&self, excess: Option<Excess>) -> Result<Step, Error> {
        let chore = match (index_table::is_any(&self.reader)?, excess) {
            (true, _) => Chore::Index,
            (false, Some(excess)) => Chore::Trim(excess),
            (false, None) => return Ok(Step::Idle),
        };
        let (answer, answered) = oneshot::channel();
        let task = Task { work: Work::Tend(chore), answer };
        self.writer.try_send(writer::Message::Write(task)).map_err(|error| match error {
            TrySendError::Full(_) => Error::Overloaded,
            TrySendError::Disconnected(_) => Error::Unavailable { reason: "it is stopped".into() },
        })?;
        match answered.blocking_recv() {
            Ok(Ok(Done::Tended(step))) => Ok(step),
            Ok(Ok(_)) => Err(super::mixed_up()),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(Error::Unavailable { reason: "the writer ended".into() }),
        }
    }

    /// Has questions answered by what is declared now, and wakes who waits for that.
    fn tell(&self) {
        if let Err(error) = self.declarations.refresh_all(&self.reader) {
            tracing::warn!(%error, "a finished index is used from the next declaration on");
        }
        self.turns.send_modify(|turns| *turns += 1);
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
    }
}
