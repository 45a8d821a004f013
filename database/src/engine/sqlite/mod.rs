//! The SQLite engine: one writer thread, a few readers, and the owner's lock on the data directory.

mod answers;
mod backfill;
mod between;
mod changes;
mod chores;
mod connection;
mod counts;
mod declared;
mod failure;
mod find;
mod group;
mod index_table;
mod job_moves;
mod job_rows;
mod log_again;
mod owner;
mod readers;
mod records;
mod sample;
pub(crate) mod schema;
mod start;
pub(crate) mod transfer;
mod trim;
mod upkeep;
mod vacuum;
mod versions;
mod waits;
mod words;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::mpsc::{SyncSender, TrySendError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use rusqlite::Connection;
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;

pub(crate) use self::between::Between;
use self::chores::Chores;
pub(crate) use self::connection::{
    PAGE_CACHE, check_library, create_private, database_file, keep_log, open_reader, open_writer,
};
use self::declared::Declarations;
pub(crate) use self::owner::Owner;
use self::readers::Readers;
use self::writer::{Done, Task, Work};
use crate::backup::Shipping;
use crate::engine::wakes::Wakes;
use crate::engine::writable::Writing;
use crate::job::{JobFilter, JobPage, QueueFigures};
use crate::{Change, Committed, Declaration, Error, Job, JobCommand, Page, Query, Transaction, time};

/// A SQLite database that this process owns; clones share it.
#[derive(Debug, Clone)]
pub struct Sqlite(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    outbox: SyncSender<writer::Message>,
    readers: Readers,
    wakes: Arc<Wakes>,
    upkeep: SyncSender<upkeep::Message>,
    declarations: Arc<Declarations>,
    chores: Chores,
    threads: Mutex<Option<Threads>>,
    file: PathBuf,
    writable: watch::Receiver<Writing>,
    /// Cancelled when those who wait are to go.
    no_waiting: CancellationToken,
    shipping: Option<Shipping>,
    /// Cancelled when the writer has ended, asked or not.
    ended: CancellationToken,
}

/// What ends with the engine, in the order of its ending.
#[derive(Debug)]
struct Threads {
    chores: JoinHandle<()>,
    writer: JoinHandle<()>,
    shipping: Vec<JoinHandle<()>>,
    upkeep: JoinHandle<()>,
    _owner: Owner,
}

impl Sqlite {
    pub(super) async fn transact(&self, transaction: Transaction) -> Result<Committed, Error> {
        match self.write(Work::Transact(transaction)).await? {
            Done::Committed(committed) => Ok(committed),
            _ => Err(mixed_up()),
        }
    }

    pub(super) async fn query(&self, namespace: &str, query: &Query) -> Result<Page, Error> {
        let (readers, namespace) = (&self.0.readers, namespace.to_owned());
        match query.clone() {
            Query::Get { collection, id } => {
                readers.ask(move |connection| records::get(connection, &namespace, &collection, &id)).await
            }
            Query::List { collection, after, limit } => {
                let after = after.unwrap_or_default();
                let list = move |connection: &Connection| {
                    records::list(connection, &namespace, &collection, &after, limit)
                };
                readers.ask(list).await
            }
            Query::Some { collection, ids } => {
                readers.ask(move |connection| records::some(connection, &namespace, &collection, &ids)).await
            }
            Query::History { collection, id, before, limit } => {
                let list = move |connection: &Connection| {
                    versions::list(connection, &namespace, &collection, &id, before, limit)
                };
                readers.ask(list).await
            }
            Query::Latest => {
                let sequence = readers.ask(move |connection| changes::latest(connection, &namespace)).await?;
                Ok(Page { sequence, ..Page::default() })
            }
            Query::Answer { key } => {
                let find =
                    move |connection: &Connection| answers::find(connection, &namespace, &key, time::now());
                Ok(Page { answer: readers.ask(find).await?, ..Page::default() })
            }
            Query::Find(asked) => {
                let declared = self.0.declarations.get(&namespace, &asked.collection);
                let (of, collection) = (namespace.clone(), asked.collection.clone());
                let walk = move |connection: &Connection| find::find(connection, &of, &asked, &declared);
                readers.walk(&namespace, &collection, walk).await
            }
        }
    }

    pub(super) async fn declare(&self, namespace: &str, declaration: &Declaration) -> Result<(), Error> {
        let (namespace, declaration) = (namespace.to_owned(), declaration.clone());
        let mut turned = self.0.chores.turned();
        self.write(Work::Declare(namespace.clone(), declaration.clone())).await?;
        loop {
            turned.mark_unchanged();
            // What a question is answered by is known only once it is durable.
            let declarations = Arc::clone(&self.0.declarations);
            let (of, named) = (namespace.clone(), declaration.collection.clone());
            let refresh = move |connection: &Connection| Ok(declarations.refresh(connection, &of, &named)?);
            let declared = self.0.readers.ask(refresh).await?;
            // Also an index that was dropped may leave something to do.
            self.0.chores.look();
            if declared.has_all(&declaration)? {
                return Ok(());
            }
            // It goes on also when nobody waits for it any more.
            turned.changed().await.map_err(|_| Error::Unavailable { reason: "it is stopping".into() })?;
        }
    }

    pub(super) async fn job(&self, id: &str) -> Result<Job, Error> {
        let id = id.to_owned();
        self.0.readers.ask(move |connection| job_rows::get(connection, &id, time::now())).await
    }

    pub(super) async fn jobs(&self, filter: &JobFilter) -> Result<JobPage, Error> {
        let filter = filter.clone();
        self.0.readers.ask(move |connection| job_rows::list(connection, &filter, time::now())).await
    }

    pub(super) async fn queues(&self) -> Result<Vec<QueueFigures>, Error> {
        self.0.readers.ask(|connection| job_rows::figures(connection, time::now())).await
    }

    /// Does a command that does not wait.
    async fn move_jobs(&self, command: JobCommand) -> Result<Vec<Job>, Error> {
        match self.write(Work::Command(command)).await? {
            Done::Jobs(jobs) => Ok(jobs),
            _ => Err(mixed_up()),
        }
    }

    async fn changes_now(
        &self,
        namespace: Option<&str>,
        after: u64,
        limit: u32,
    ) -> Result<Vec<Change>, Error> {
        let namespace = namespace.map(ToOwned::to_owned);
        self.0
            .readers
            .ask(move |connection| changes::list(connection, namespace.as_deref(), after, limit))
            .await
    }

    async fn write(&self, work: Work) -> Result<Done, Error> {
        let (answer, answered) = oneshot::channel();
        self.0.outbox.try_send(writer::Message::Write(Task { work, answer })).map_err(
            |error| match error {
                TrySendError::Full(_) => Error::Overloaded,
                TrySendError::Disconnected(_) => Error::Unavailable { reason: "it is stopped".into() },
            },
        )?;
        answered.await.unwrap_or_else(|_| Err(Error::Unknown { reason: "the writer ended".into() }))
    }

    /// Gives the database file, for a backup from a connection of its own.
    pub(crate) fn file(&self) -> &Path {
        &self.0.file
    }

    /// Sends those who wait for jobs or changes away with what there is.
    pub(super) fn end_waits(&self) {
        self.0.no_waiting.cancel();
    }

    /// Tells how writing goes, and when that changes.
    pub(super) fn writable(&self) -> watch::Receiver<Writing> {
        self.0.writable.clone()
    }

    /// Gives the continuous backup, if there is one.
    pub(super) fn shipping(&self) -> Option<&Shipping> {
        self.0.shipping.as_ref()
    }

    /// Waits until the writer has ended, by [`Sqlite::close`] or by a fault.
    pub(super) async fn ended(&self) {
        self.0.ended.cancelled().await;
    }

    /// Finishes the writes that wait, writes the log back into the file, and gives up the directory.
    pub(super) fn close(&self) {
        self.0.close();
    }
}

impl Inner {
    fn close(&self) {
        self.no_waiting.cancel();
        let Some(threads) = self.threads.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            return;
        };
        self.chores.stop();
        let _ = threads.chores.join();
        let _ = self.outbox.send(writer::Message::Stop);
        let _ = threads.writer.join();
        self.readers.stop();
        if let Some(shipping) = &self.shipping {
            shipping.close();
        }
        for thread in threads.shipping {
            let _ = thread.join();
        }
        let _ = self.upkeep.send(upkeep::Message::Stop);
        let _ = threads.upkeep.join();
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.close();
    }
}

fn mixed_up() -> Error {
    Error::Unknown { reason: "the writer answered something else".into() }
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        Self::Storage { reason: error.to_string() }
    }
}

#[cfg(test)]
mod plan_tests;
