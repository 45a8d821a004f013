//! What goes on beside reading and writing: checkpoints of the log, and the figures of the queues.

use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::backfill::Backfill;
use super::{connection, job_rows};
use crate::backup::Shipping;
use crate::engine::OpenError;
use crate::{figures, time};

/// How often the figures of the queues are taken.
const FIGURES_EVERY: Duration = Duration::from_secs(5);

/// A log this many times its due length is restarted even if writers must wait for the readers.
const OVERDUE: u32 = 4;

/// How long a restart of the log waits for readers, and the writer for a restart. It is short; while a
/// reader such as a backup holds on for longer, the log grows and the restart is tried again later.
const LONGEST_STALL: Duration = Duration::from_millis(100);

/// SQLite's page size, in bytes; the default, and we set no other.
const PAGE_BYTES: u64 = 4096;

/// What the thread is asked.
#[derive(Debug)]
pub(super) enum Message {
    /// Write the log back while others read and write.
    Checkpoint,
    /// Write the log back and begin it anew; the writer waits until the answer.
    Restart(SyncSender<()>),
    Stop,
}

/// The writer's side: it tells how long the log is.
#[derive(Debug)]
pub(super) struct Upkeep {
    outbox: SyncSender<Message>,
    threshold: u32,
    due_at: u32,
    last: u32,
}

impl Upkeep {
    /// Opens a connection of its own and starts the thread.
    pub(super) fn start(
        file: &Path,
        checkpoint_bytes: u64,
        shipping: Option<Shipping>,
    ) -> Result<(Self, SyncSender<Message>, JoinHandle<()>), OpenError> {
        let connection = connection::open_writer(file)?;
        connection.busy_timeout(LONGEST_STALL)?;
        if shipping.is_some() {
            connection::keep_log(&connection)?;
        }
        let backfill = Backfill::open(file)?;
        let (outbox, inbox) = sync_channel(2);
        let thread = std::thread::Builder::new()
            .name("db-upkeep".to_owned())
            .spawn(move || run(&connection, backfill, &inbox, shipping.as_ref()))?;
        let threshold = u32::try_from(checkpoint_bytes / PAGE_BYTES).unwrap_or(u32::MAX).max(1);
        let upkeep = Self { outbox: outbox.clone(), threshold, due_at: threshold, last: 0 };
        Ok((upkeep, outbox, thread))
    }

    /// Asks for a checkpoint when the log has grown enough since the last one.
    pub(super) fn note_log(&mut self, pages: u32) {
        if pages < self.last {
            self.due_at = self.threshold; // the log began anew
        }
        self.last = pages;
        if pages >= self.due_at {
            let is_asked = match pages / OVERDUE >= self.threshold {
                true => self.restart_log(),
                false => self.outbox.try_send(Message::Checkpoint).is_ok(),
            };
            // A full channel means that the thread is behind; it is asked again after the next commit.
            if is_asked {
                self.due_at = pages.saturating_add(self.threshold);
            }
        }
    }

    /// Holds the writer back while the log is begun anew: a writer that never pauses takes the write lock
    /// each time before the checkpoint gets it, and the log would grow for as long as the load lasts.
    fn restart_log(&self) -> bool {
        let (resume, resumed) = sync_channel(1);
        let is_asked = self.outbox.try_send(Message::Restart(resume)).is_ok();
        if is_asked {
            let _ = resumed.recv_timeout(LONGEST_STALL);
        }
        is_asked
    }
}

fn run(
    connection: &Connection,
    mut backfill: Backfill,
    inbox: &Receiver<Message>,
    shipping: Option<&Shipping>,
) {
    // While the log is needed as a buffer for the backup, it is left as it is and asked for again later.
    let mut checkpoint = |mode: &'static str| match shipping {
        None => checkpoint(connection, &mut backfill, mode),
        Some(shipping) => {
            shipping.checkpoint(|| checkpoint(connection, &mut backfill, mode));
        }
    };
    let mut figures_at = Instant::now();
    loop {
        match inbox.recv_timeout(figures_at.saturating_duration_since(Instant::now())) {
            Ok(Message::Checkpoint) => checkpoint("PASSIVE"),
            Ok(Message::Restart(resume)) => {
                checkpoint("RESTART");
                let _ = resume.send(());
            }
            Ok(Message::Stop) | Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                match job_rows::figures(connection, time::now()) {
                    Ok(queues) => figures::show_queues(&queues),
                    Err(error) => tracing::warn!(%error, "the figures of the queues are not known"),
                }
                if let Some(shipping) = shipping {
                    let _shown = shipping.status();
                }
                figures_at = Instant::now() + FIGURES_EVERY;
            }
        }
    }
    // A backup goes on from the log, in the next process.
    if shipping.is_none() {
        checkpoint("TRUNCATE");
    }
}

fn checkpoint(connection: &Connection, backfill: &mut Backfill, mode: &str) {
    let started = Instant::now();
    let done = backfill.checkpoint(|| {
        connection.query_row(&format!("PRAGMA wal_checkpoint({mode})"), (), |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })
    });
    match done {
        Ok((busy, log, written)) => {
            let (busy, log, written): (i64, i64, i64) = (busy, log, written);
            let took_us = started.elapsed().as_micros();
            tracing::debug!(mode, busy, log, written, took_us, "checkpoint");
        }
        Err(error) => tracing::warn!(%error, mode, "a checkpoint failed; the log keeps everything"),
    }
}
