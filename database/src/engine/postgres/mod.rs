//! The PostgreSQL engine: two lanes that write, a few connections that read, and wake-ups between processes.
//! Reads whose caller allows staleness may go to standbys ([`replicas`]).
//!
//! Transactions go through one lane ([`records`]), commands on jobs through the other ([`jobs`]); each commits
//! many callers at once ([`lane`]). Several processes may share a database: the counter's lock orders their
//! transactions, row locks divide the jobs. Everything that touches the network runs on one thread with a
//! runtime of its own, so that opening and closing block just as SQLite's do, and no caller's runtime has to
//! outlive a connection.

mod anew;
mod columns;
mod declared;
mod document;
mod draft;
pub(crate) mod fault;
mod find;
mod job_rows;
mod jobs;
mod lane;
mod link;
mod pipeline;
mod readers;
mod records;
mod replicas;
mod rows;
mod sample;
mod schema;
pub(crate) mod session;
mod signal;
mod start;
mod tls;
pub(crate) mod transfer;
mod trim;
mod versions;
mod wanted;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, mpsc as blocking};
use std::thread::JoinHandle;
use std::time::Duration;

use process::Secret;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::lane::Task;
use self::session::Server;
use self::start::Parts;
use super::waits::Wait;
use super::wakes::Topic;
use super::writable::Writing;
use crate::backup::postgres::Receiving;
use crate::engine::OpenError;
use crate::job::{JobFilter, JobPage, QueueFigures};
use crate::{
    Change, Committed, Config, Declaration, Error, Job, JobCommand, Page, Query, Transaction, figures,
};

/// How soon a claim looks again for a job that is due and that another process may just be taking.
const CLAIM_AGAIN: Duration = Duration::from_millis(5);

/// A database on a PostgreSQL server; clones share it.
#[derive(Debug, Clone)]
pub struct Postgres(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    parts: Parts,
    /// Cancelled when those who wait are to go.
    no_waiting: CancellationToken,
    /// Cancelled when the thread has ended, asked or not.
    ended: CancellationToken,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// The continuous backup, if one is configured.
    receiving: Option<Receiving>,
}

impl Postgres {
    /// Connects, brings the schema up and starts the engine's thread; `data` is where a backup tries restores out.
    pub(super) fn open(config: &Config, url: &Secret, data: &Path) -> Result<Self, OpenError> {
        figures::declare();
        // First: in mode `sync` the server's commits, the schema's too, wait for its receiver.
        let receiving = Receiving::start(&config.backup, url, data)?;
        let opened = Self::open_with(config, url, receiving.clone());
        if let (Err(_), Some(receiving)) = (&opened, &receiving) {
            receiving.close();
        }
        opened
    }

    fn open_with(config: &Config, url: &Secret, receiving: Option<Receiving>) -> Result<Self, OpenError> {
        let url = url.clone();
        let (config, backup) = (config.clone(), receiving.clone());
        let (opened, opening) = blocking::sync_channel(1);
        let ended = CancellationToken::new();
        let end = ended.clone().drop_guard();
        let thread = std::thread::Builder::new().name("db-postgres".to_owned()).spawn(move || {
            let _end = end;
            let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime,
                Err(error) => {
                    let _ = opened.send(Err(error.into()));
                    return;
                }
            };
            let server = match Server::new(url.expose(), runtime.handle().clone()) {
                Ok(server) => server,
                Err(error) => {
                    let _ = opened.send(Err(error));
                    return;
                }
            };
            runtime.block_on(async move {
                let (parts, running) = match start::start(&config, server, backup).await {
                    Ok(started) => started,
                    Err(error) => {
                        let _ = opened.send(Err(error));
                        return;
                    }
                };
                let _ = opened.send(Ok(parts));
                running.run().await;
            });
        })?;
        let no_thread = || OpenError::Storage { reason: "its thread ended".to_owned() };
        let parts = opening.recv().map_err(|_| no_thread())??;
        let (no_waiting, thread) = (CancellationToken::new(), Mutex::new(Some(thread)));
        Ok(Self(Arc::new(Inner { parts, no_waiting, ended, thread, receiving })))
    }

    pub(super) async fn transact(&self, transaction: Transaction) -> Result<Committed, Error> {
        self.check_backup()?;
        enter(&self.0.parts.transactions, transaction).await
    }

    /// Refuses a write that the backup could not hold, if that is the policy.
    fn check_backup(&self) -> Result<(), Error> {
        self.0.receiving.as_ref().and_then(Receiving::refusal).map_or(Ok(()), Err)
    }

    /// Gives the continuous backup, if one is configured.
    pub(super) fn receiving(&self) -> Option<&Receiving> {
        self.0.receiving.as_ref()
    }

    pub(super) async fn query_within(
        &self,
        namespace: &str,
        query: &Query,
        max_stale: Duration,
    ) -> Result<Page, Error> {
        if let Some(page) = self.0.parts.replicas.query(namespace, query, max_stale).await {
            return Ok(page);
        }
        figures::count_read("primary");
        self.0.parts.readers.query(namespace, query).await
    }

    pub(super) async fn declare(&self, namespace: &str, declaration: &Declaration) -> Result<(), Error> {
        if self.0.parts.readers.declared(namespace, &declaration.collection).await?.holds(declaration) {
            return Ok(());
        }
        self.check_backup()?;
        let (declared, contradicted) =
            declared::declare(&self.0.parts.server, namespace, declaration).await?;
        self.0.parts.declarations.note(namespace, &declaration.collection, declared);
        contradicted.map_or(Ok(()), Err)
    }

    pub(super) async fn changes(
        &self,
        namespace: Option<&str>,
        after: u64,
        limit: u32,
        wait: Duration,
    ) -> Result<Vec<Change>, Error> {
        let wait = self.wait(vec![Topic::Changes(namespace.map(ToOwned::to_owned))], wait);
        loop {
            let changes = self.0.parts.readers.changes(namespace, after, limit).await?;
            if !changes.is_empty() || !wait.goes_on(None).await {
                return Ok(changes);
            }
        }
    }

    pub(super) async fn command(&self, command: &JobCommand) -> Result<Vec<Job>, Error> {
        let JobCommand::Claim { queues, wait_ms, .. } = command else {
            self.check_backup()?;
            return enter(&self.0.parts.commands, command.clone()).await;
        };
        let topics = queues.iter().cloned().map(Topic::Queue).collect();
        let wait = self.wait(topics, Duration::from_millis(*wait_ms));
        loop {
            let due = self.0.parts.readers.next_due(queues).await?;
            if due.is_some_and(|due| due.is_zero()) {
                self.check_backup()?;
                let claimed = enter(&self.0.parts.commands, command.clone()).await?;
                // Another worker may have been quicker.
                if !claimed.is_empty() {
                    return Ok(claimed);
                }
            }
            if !wait.goes_on(due.map(|due| due.max(CLAIM_AGAIN))).await {
                return Ok(Vec::new());
            }
        }
    }

    pub(super) async fn job(&self, id: &str) -> Result<Job, Error> {
        self.0.parts.readers.job(id).await
    }

    pub(super) async fn job_when_final(&self, id: &str, wait: Duration) -> Result<Job, Error> {
        let wait = self.wait(vec![Topic::Job(id.to_owned())], wait);
        loop {
            let job = self.job(id).await?;
            if job.state.is_final() || !wait.goes_on(None).await {
                return Ok(job);
            }
        }
    }

    pub(super) async fn jobs(&self, filter: &JobFilter) -> Result<JobPage, Error> {
        self.0.parts.readers.jobs(filter).await
    }

    pub(super) async fn queues(&self) -> Result<Vec<QueueFigures>, Error> {
        self.0.parts.readers.figures().await
    }

    fn wait(&self, topics: Vec<Topic>, wait: Duration) -> Wait {
        Wait::begin(&self.0.parts.wakes, &self.0.no_waiting, topics, wait)
    }

    /// Sends those who wait for jobs or changes away with what there is.
    pub(super) fn end_waits(&self) {
        self.0.no_waiting.cancel();
    }

    /// Tells how writing goes, and when that changes.
    pub(super) fn writable(&self) -> watch::Receiver<Writing> {
        self.0.parts.writable.clone()
    }

    /// Waits until the engine's thread has ended, by [`Postgres::close`] or by a fault.
    pub(super) async fn ended(&self) {
        self.0.ended.cancelled().await;
    }

    /// Finishes the writes that wait and closes the connections.
    pub(super) fn close(&self) {
        self.0.close();
    }
}

impl Inner {
    fn close(&self) {
        self.no_waiting.cancel();
        self.parts.readers.stop();
        self.parts.replicas.stop();
        self.parts.stop.cancel();
        if let Some(thread) = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = thread.join();
        }
        // Last: what was being written may wait for it.
        if let Some(receiving) = &self.receiving {
            receiving.close();
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.close();
    }
}

/// Puts work into a lane and waits for its answer, which the lane gives in time.
async fn enter<W, D>(lane: &mpsc::Sender<Task<W, D>>, work: W) -> Result<D, Error> {
    let (answer, answered) = oneshot::channel();
    lane.try_send(Task { work, answer, since: Instant::now() }).map_err(|error| match error {
        TrySendError::Full(_) => Error::Overloaded,
        TrySendError::Closed(_) => Error::Unavailable { reason: "it is stopped".into() },
    })?;
    answered.await.unwrap_or_else(|_| Err(Error::Unknown { reason: "the engine ended".into() }))
}

#[cfg(test)]
mod doubt_tests;
#[cfg(test)]
mod plan_tests;
#[cfg(test)]
mod server_tests;
