//! The PostgreSQL engine: two lanes that write, a few connections that read, and wake-ups between processes.
//!
//! Transactions go through one lane ([`records`]), commands on jobs through the other ([`jobs`]); each commits
//! many callers at once ([`lane`]). Several processes may share a database: the counter's lock orders their
//! transactions, row locks divide the jobs. Everything that touches the network runs on one thread with a
//! runtime of its own, so that opening and closing block just as SQLite's do, and no caller's runtime has to
//! outlive a connection.

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
mod schema;
pub(crate) mod session;
mod signal;
mod tls;
pub(crate) mod transfer;
mod versions;
mod wanted;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, mpsc as blocking};
use std::thread::JoinHandle;
use std::time::Duration;

use process::Secret;
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::declared::Declarations;
use self::jobs::Jobs;
use self::lane::{Lane, Task};
use self::link::Link;
use self::readers::Readers;
use self::records::Records;
use self::session::Server;
use self::signal::Signal;
use super::failures::FailureLog;
use super::waits::Wait;
use super::wakes::{Topic, Wakes};
use crate::backup::postgres::Receiving;
use crate::engine::OpenError;
use crate::job::backoff::Backoff;
use crate::job::{JobFilter, JobPage, QueueFigures};
use crate::{
    Change, Committed, Config, Declaration, Error, Job, JobCommand, Operation, Page, Query, Transaction,
    figures,
};

/// How long a start waits for a server that is not there yet.
const START_PATIENCE: Duration = Duration::from_secs(10);

/// How often it looks.
const START_LOOK: Duration = Duration::from_millis(250);

/// How often the figures of the queues are taken.
const FIGURES_EVERY: Duration = Duration::from_secs(5);

/// How soon a claim looks again for a job that is due and that another process may just be taking.
const CLAIM_AGAIN: Duration = Duration::from_millis(5);

/// A database on a PostgreSQL server; clones share it.
#[derive(Debug, Clone)]
pub struct Postgres(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    transactions: mpsc::Sender<Task<Transaction, Committed>>,
    commands: mpsc::Sender<Task<JobCommand, Vec<Job>>>,
    readers: Arc<Readers>,
    declarations: Arc<Declarations>,
    server: Server,
    wakes: Arc<Wakes>,
    writable: watch::Receiver<bool>,
    /// Cancelled when those who wait are to go.
    no_waiting: CancellationToken,
    /// Cancelled when no new work is taken.
    stop: CancellationToken,
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
        let config = config.clone();
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
                let (parts, running) = match start(&config, server).await {
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
        let Parts { transactions, commands, readers, declarations, server, wakes, writable, stop } =
            opening.recv().map_err(|_| no_thread())??;
        let (no_waiting, thread) = (CancellationToken::new(), Mutex::new(Some(thread)));
        Ok(Self(Arc::new(Inner {
            transactions,
            commands,
            readers,
            declarations,
            server,
            wakes,
            writable,
            no_waiting,
            stop,
            ended,
            thread,
            receiving,
        })))
    }

    pub(super) async fn transact(&self, transaction: &Transaction) -> Result<Committed, Error> {
        for operation in &transaction.operations {
            figures::count(match operation {
                Operation::Put { .. } => "put",
                Operation::Patch { .. } => "patch",
                Operation::Delete { .. } => "delete",
                Operation::Enqueue { .. } => "enqueue",
                Operation::Move { .. } => "move",
                Operation::Trim { .. } | Operation::Once { .. } => continue,
            });
        }
        self.check_backup()?;
        enter(&self.0.transactions, transaction.clone()).await
    }

    /// Refuses a write that the backup could not hold, if that is the policy.
    fn check_backup(&self) -> Result<(), Error> {
        self.0.receiving.as_ref().and_then(Receiving::refusal).map_or(Ok(()), Err)
    }

    /// Gives the continuous backup, if one is configured.
    pub(super) fn receiving(&self) -> Option<&Receiving> {
        self.0.receiving.as_ref()
    }

    pub(super) async fn query(&self, namespace: &str, query: &Query) -> Result<Page, Error> {
        figures::count("query");
        self.0.readers.query(namespace, query).await
    }

    pub(super) async fn declare(&self, namespace: &str, declaration: &Declaration) -> Result<(), Error> {
        if self.0.readers.declared(namespace, &declaration.collection).await?.holds(declaration) {
            return Ok(());
        }
        self.check_backup()?;
        let declared = declared::declare(&self.0.server, namespace, declaration).await?;
        self.0.declarations.note(namespace, &declaration.collection, declared);
        Ok(())
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
            let changes = self.0.readers.changes(namespace, after, limit).await?;
            if !changes.is_empty() || !wait.goes_on(None).await {
                return Ok(changes);
            }
        }
    }

    pub(super) async fn command(&self, command: &JobCommand) -> Result<Vec<Job>, Error> {
        let JobCommand::Claim { queues, wait_ms, .. } = command else {
            figures::count(name(command));
            self.check_backup()?;
            return enter(&self.0.commands, command.clone()).await;
        };
        let topics = queues.iter().cloned().map(Topic::Queue).collect();
        let wait = self.wait(topics, Duration::from_millis(*wait_ms));
        loop {
            let due = self.0.readers.next_due(queues).await?;
            if due.is_some_and(|due| due.is_zero()) {
                figures::count("claim");
                self.check_backup()?;
                let claimed = enter(&self.0.commands, command.clone()).await?;
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
        self.0.readers.job(id).await
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
        self.0.readers.jobs(filter).await
    }

    pub(super) async fn queues(&self) -> Result<Vec<QueueFigures>, Error> {
        self.0.readers.figures().await
    }

    fn wait(&self, topics: Vec<Topic>, wait: Duration) -> Wait {
        Wait::begin(&self.0.wakes, &self.0.no_waiting, topics, wait)
    }

    /// Sends those who wait for jobs or changes away with what there is.
    pub(super) fn end_waits(&self) {
        self.0.no_waiting.cancel();
    }

    /// Tells whether the server took the last transaction, and when that changes.
    pub(super) fn writable(&self) -> watch::Receiver<bool> {
        self.0.writable.clone()
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
        self.readers.stop();
        self.stop.cancel();
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

fn name(command: &JobCommand) -> &'static str {
    match command {
        JobCommand::Claim { .. } => "claim",
        JobCommand::Extend { .. } => "extend",
        JobCommand::Succeed { .. } => "succeed",
        JobCommand::Fail { .. } => "fail",
        JobCommand::Cancel { .. } => "cancel",
        JobCommand::Retry { .. } => "retry",
    }
}

/// What the handle needs of a started engine.
struct Parts {
    transactions: mpsc::Sender<Task<Transaction, Committed>>,
    commands: mpsc::Sender<Task<JobCommand, Vec<Job>>>,
    readers: Arc<Readers>,
    declarations: Arc<Declarations>,
    server: Server,
    wakes: Arc<Wakes>,
    writable: watch::Receiver<bool>,
    stop: CancellationToken,
}

/// What the thread runs.
struct Running {
    records: Lane<Records>,
    jobs: Lane<Jobs>,
    signal: Arc<Signal>,
    teller: Link,
    server: Server,
    readers: Arc<Readers>,
    stop: CancellationToken,
}

/// Brings the schema up and puts the parts together.
async fn start(config: &Config, server: Server) -> Result<(Parts, Running), OpenError> {
    schema::migrate(&connect(&server).await?, server.schema()).await?;
    let (transactions, transaction_inbox) = mpsc::channel(config.queue);
    let (commands, command_inbox) = mpsc::channel(config.queue);
    let declarations = Arc::new(Declarations::default());
    let readers = Readers::new(&server, Arc::clone(&declarations), config.readers, config.read_queue);
    let readers = Arc::new(readers);
    let wakes = Arc::new(Wakes::default());
    let signal = Arc::new(Signal::new(Arc::clone(&wakes), server.schema()));
    let writable = watch::Sender::new(true);
    let stop = CancellationToken::new();
    let parts = Parts {
        transactions,
        commands,
        readers: Arc::clone(&readers),
        declarations: Arc::clone(&declarations),
        server: server.clone(),
        wakes,
        writable: writable.subscribe(),
        stop: stop.clone(),
    };
    let backoff = Backoff { base: config.backoff_base, limit: config.backoff_limit };
    let records = Lane {
        batch: Records::new(declarations),
        link: Arc::new(Link::new(server.clone(), records::STATEMENTS)),
        inbox: transaction_inbox,
        most: config.batch,
        signal: Arc::clone(&signal),
        writable: writable.clone(),
        failures: FailureLog::default(),
    };
    let jobs = Lane {
        batch: Jobs::new(backoff, StdRng::from_os_rng()),
        link: Arc::new(Link::new(server.clone(), jobs::STATEMENTS)),
        inbox: command_inbox,
        most: config.batch,
        signal: Arc::clone(&signal),
        writable,
        failures: FailureLog::default(),
    };
    let teller = Link::new(server.clone(), signal::STATEMENTS);
    Ok((parts, Running { records, jobs, signal, teller, server, readers, stop }))
}

/// Connects; waits a while for a server that is just starting.
async fn connect(server: &Server) -> Result<session::Session, OpenError> {
    let began = Instant::now();
    loop {
        match server.connect(&[], None).await {
            Ok(session) => return Ok(session),
            Err(fault) if fault.may_pass() && began.elapsed() < START_PATIENCE => {
                tracing::debug!(reason = %fault, "PostgreSQL is not there yet");
                tokio::time::sleep(START_LOOK).await;
            }
            Err(fault) => return Err(OpenError::Storage { reason: fault.to_string() }),
        }
    }
}

impl Running {
    /// Runs until the lanes end: asked to, or by a fault.
    async fn run(self) {
        let Self { records, jobs, signal, teller, server, readers, stop } = self;
        let mut lanes = JoinSet::new();
        lanes.spawn(records.run(stop.clone()));
        lanes.spawn(jobs.run(stop.clone()));
        let working = async {
            while let Some(ended) = lanes.join_next().await {
                if let Err(error) = ended {
                    tracing::error!(%error, "a lane ended by a fault of the program");
                    return;
                }
            }
        };
        let showing = async {
            loop {
                if let Ok(queues) = readers.figures().await {
                    figures::show_queues(&queues);
                }
                tokio::time::sleep(FIGURES_EVERY).await;
            }
        };
        tokio::select! {
            () = working => {}
            () = signal.tell_others(&teller) => {}
            () = signal.listen(&server) => {}
            () = showing => {}
        }
    }
}

#[cfg(test)]
mod plan_tests;
