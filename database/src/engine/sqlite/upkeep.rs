//! What goes on beside reading and writing: checkpoints of the log, and the figures of the queues and of the space.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::backfill::Backfill;
use super::vacuum::{PAGE_BYTES, Space};
use super::{connection, job_rows};
use crate::backup::{Shipping, log_path};
use crate::engine::OpenError;
use crate::{figures, time};

/// How often the figures of the queues and of the space are taken.
const FIGURES_EVERY: Duration = Duration::from_secs(5);

/// A log this many times its due length is begun anew even if writers must wait for the readers; at twice that, also
/// before a checkpoint has caught up with it.
const OVERDUE: u32 = 4;

/// How long a restart of the log waits for readers, and the writer for a restart. It is short; while a
/// reader such as a backup holds on for longer, the log grows and the restart is tried again later.
const LONGEST_STALL: Duration = Duration::from_millis(100);

/// A file that is longer than the database by this many bytes is cut without waiting for the log to grow.
const OVERHANG: u64 = 1 << 20;

/// What the thread is asked.
#[derive(Debug)]
pub(super) enum Message {
    /// Write the log back while others read and write, and flush that.
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
    /// Whether a checkpoint was asked for that the log is to be begun anew after.
    catches_up: bool,
    /// Whether all was written back and flushed that the log had when that was last asked for.
    caught_up: Arc<AtomicBool>,
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
        let checkpoints =
            Checkpoints { file: file.to_owned(), connection, backfill: Backfill::open(file)?, shipping };
        let (outbox, inbox) = sync_channel(2);
        let caught_up = Arc::<AtomicBool>::default();
        let noted = Arc::clone(&caught_up);
        let thread = std::thread::Builder::new()
            .name("db-upkeep".to_owned())
            .spawn(move || run(checkpoints, &inbox, &noted))?;
        let threshold = u32::try_from(checkpoint_bytes / PAGE_BYTES).unwrap_or(u32::MAX).max(1);
        let upkeep = Self {
            outbox: outbox.clone(),
            threshold,
            due_at: threshold,
            last: 0,
            catches_up: false,
            caught_up,
        };
        Ok((upkeep, outbox, thread))
    }

    /// Asks for a checkpoint when the log has grown enough since the last one. When it is overdue, the writer is held
    /// back to begin the log anew: once a checkpoint has caught up with it, so that little is left to be written.
    pub(super) fn note_log(&mut self, pages: u32) {
        if pages < self.last {
            // The log began anew.
            (self.due_at, self.catches_up) = (self.threshold, false);
        }
        self.last = pages;
        let is_overdue = |times: u32| pages / times >= self.threshold;
        if self.catches_up {
            if self.caught_up.load(Ordering::Relaxed) || is_overdue(2 * OVERDUE) {
                self.catches_up = false;
                self.restart_log();
            }
        } else if pages >= self.due_at {
            let catches_up = is_overdue(OVERDUE);
            self.caught_up.store(false, Ordering::Relaxed);
            // A full channel means that the thread is behind; it is asked again after the next commit.
            if self.outbox.try_send(Message::Checkpoint).is_ok() {
                (self.due_at, self.catches_up) = (pages.saturating_add(self.threshold), catches_up);
            }
        }
    }

    /// Holds the writer back while the log is begun anew: a writer that never pauses takes the write lock
    /// each time before the checkpoint gets it, and the log would grow for as long as the load lasts.
    fn restart_log(&self) {
        let (resume, resumed) = sync_channel(1);
        if self.outbox.try_send(Message::Restart(resume)).is_ok() {
            let _ = resumed.recv_timeout(LONGEST_STALL);
        }
    }
}

fn run(mut checkpoints: Checkpoints, inbox: &Receiver<Message>, caught_up: &AtomicBool) {
    let mut figures_at = Instant::now();
    loop {
        match inbox.recv_timeout(figures_at.saturating_duration_since(Instant::now())) {
            Ok(Message::Checkpoint) => {
                let is_done = checkpoints.run("PASSIVE") && checkpoints.flush();
                caught_up.store(is_done, Ordering::Relaxed);
            }
            Ok(Message::Restart(resume)) => {
                checkpoints.run("RESTART");
                let _ = resume.send(());
            }
            Ok(Message::Stop) | Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                match job_rows::figures(&checkpoints.connection, time::now()) {
                    Ok(queues) => figures::show_queues(&queues),
                    Err(error) => tracing::warn!(%error, "the figures of the queues are not known"),
                }
                checkpoints.tend_space();
                if let Some(shipping) = &checkpoints.shipping {
                    let _shown = shipping.status();
                }
                figures_at = Instant::now() + FIGURES_EVERY;
            }
        }
    }
    // A backup goes on from the log, in the next process.
    if checkpoints.shipping.is_none() {
        checkpoints.run("TRUNCATE");
    }
}

/// What writes the log back.
struct Checkpoints {
    file: PathBuf,
    connection: Connection,
    backfill: Backfill,
    shipping: Option<Shipping>,
}

impl Checkpoints {
    /// Runs a checkpoint; tells whether it could be done, which is not said of one that readers held back.
    fn run(&mut self, mode: &str) -> bool {
        let Self { connection, backfill, shipping, .. } = self;
        match shipping {
            None => checkpoint(connection, backfill, mode),
            // While the log is needed as a buffer for the backup, it is left as it is and asked for again later.
            Some(shipping) => {
                let mut is_done = false;
                shipping.checkpoint(|| is_done = checkpoint(connection, backfill, mode)) && is_done
            }
        }
    }

    /// Flushes what was written back.
    fn flush(&mut self) -> bool {
        let flushed = self.backfill.flush();
        if let Err(error) = &flushed {
            tracing::warn!(%error, "the database file was not flushed; the log keeps everything");
        }
        flushed.is_ok()
    }

    /// Shows how much space there is and how much of it is used. A file that is longer than the database is cut, which only
    /// a checkpoint does.
    fn tend_space(&mut self) {
        let space = match Space::read(&self.connection) {
            Ok(space) => space,
            Err(error) => return tracing::warn!(%error, "it is not known how much space the database takes"),
        };
        // Asking for the metadata opens nothing.
        let size = |path: &Path| std::fs::metadata(path).map_or(0, |metadata| metadata.len());
        let file_bytes = size(&self.file);
        figures::show_space(file_bytes, space.free_bytes(), size(&log_path(&self.file)));
        if file_bytes > space.bytes() + OVERHANG {
            self.run("PASSIVE");
        }
    }
}

fn checkpoint(connection: &Connection, backfill: &mut Backfill, mode: &str) -> bool {
    let started = Instant::now();
    let done = backfill.checkpoint(|| {
        connection
            .query_row(&format!("PRAGMA wal_checkpoint({mode})"), (), |row| <(i64, i64, i64)>::try_from(row))
    });
    match &done {
        Ok((busy, log, written)) => {
            let took_us = started.elapsed().as_micros();
            tracing::debug!(mode, busy, log, written, took_us, "checkpoint");
        }
        Err(error) => tracing::warn!(%error, mode, "a checkpoint failed; the log keeps everything"),
    }
    done.is_ok()
}
