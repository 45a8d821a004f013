//! A few read-only connections, each on a thread of its own, fed by one bounded channel.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::connection;
use crate::engine::OpenError;
use crate::{Config, Error};

/// A question that carries the place of its answer.
type Question = Box<dyn FnOnce(&Connection) + Send>;

/// The reading threads.
#[derive(Debug)]
pub(super) struct Readers {
    outbox: Mutex<Option<SyncSender<Question>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Readers {
    /// Opens the connections and starts their threads.
    pub(super) fn start(file: &Path, config: &Config) -> Result<Self, OpenError> {
        let (outbox, inbox) = sync_channel::<Question>(config.read_queue);
        let inbox = Arc::new(Mutex::new(inbox));
        let mut threads = Vec::with_capacity(config.readers);
        for number in 0..config.readers {
            let connection = connection::open_reader(file)?;
            connection::set_page_cache(&connection, config.page_cache)?;
            let inbox = Arc::clone(&inbox);
            let thread = std::thread::Builder::new()
                .name(format!("db-reader-{number}"))
                .spawn(move || answer_questions(&connection, &inbox))?;
            threads.push(thread);
        }
        Ok(Self { outbox: Mutex::new(Some(outbox)), threads: Mutex::new(threads) })
    }

    /// Asks a question of the latest commit.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Connection) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (answer, answered) = oneshot::channel();
        let question: Question = Box::new(move |connection| {
            // The caller may have gone meanwhile.
            if !answer.is_closed() {
                let _ = answer.send(question(connection));
            }
        });
        let sent = match &*self.outbox.lock().unwrap_or_else(PoisonError::into_inner) {
            None => return Err(Error::Unavailable { reason: "it is stopping".into() }),
            Some(outbox) => outbox.try_send(question),
        };
        match sent {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => return Err(Error::Overloaded),
            Err(TrySendError::Disconnected(_)) => {
                return Err(Error::Unavailable { reason: "its readers ended".into() });
            }
        }
        answered
            .await
            .unwrap_or_else(|_| Err(Error::Storage { reason: "a read ended without answer".into() }))
    }

    /// Answers what was asked and ends the threads.
    pub(super) fn stop(&self) {
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner).take();
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            let _ = thread.join();
        }
    }
}

fn answer_questions(connection: &Connection, inbox: &Mutex<Receiver<Question>>) {
    loop {
        let next = inbox.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(question) = next else { break };
        // A fault in one question must not cost the others their reader.
        if catch_unwind(AssertUnwindSafe(|| question(connection))).is_err() {
            tracing::error!("a read failed by a fault of the program");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_reader_keeps_as_many_pages_as_it_was_told() {
        let data = tempfile::tempdir().unwrap();
        let file = connection::database_file(data.path());
        drop(connection::open_writer(&file).unwrap());
        let config = Config { page_cache: 3 << 20, ..Config::default() };
        let readers = Readers::start(&file, &config).unwrap();
        let kept = |connection: &Connection| {
            Ok(connection.pragma_query_value(None, "cache_size", |row| row.get::<_, i64>(0))?)
        };
        assert_eq!(readers.ask(kept).await, Ok(-3 << 10), "KiB are told as less than nothing");
        readers.stop();
    }
}
