//! Starting the engine: the schema brought up, the lanes and readers put together, and what its thread runs.

use std::sync::Arc;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::declared::Declarations;
use super::jobs::{self, Jobs};
use super::lane::{Lane, Task};
use super::link::Link;
use super::readers::Readers;
use super::records::{self, Records};
use super::replicas::Replicas;
use super::schema;
use super::session::{self, Server};
use super::signal::{self, Signal};
use super::trim;
use crate::backup::postgres::Receiving;
use crate::engine::OpenError;
use crate::engine::failures::FailureLog;
use crate::engine::wakes::Wakes;
use crate::engine::writable::{Writable, Writing};
use crate::job::backoff::Backoff;
use crate::{Committed, Config, Job, JobCommand, Retention, Transaction, figures};

/// How long a start waits for a server that is not there yet.
const START_PATIENCE: Duration = Duration::from_secs(10);

/// How often it looks.
const START_LOOK: Duration = Duration::from_millis(250);

/// How often the figures of the queues are taken.
const FIGURES_EVERY: Duration = Duration::from_secs(5);

/// What the handle needs of a started engine.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) transactions: mpsc::Sender<Task<Transaction, Committed>>,
    pub(super) commands: mpsc::Sender<Task<JobCommand, Vec<Job>>>,
    pub(super) readers: Arc<Readers>,
    pub(super) replicas: Arc<Replicas>,
    pub(super) declarations: Arc<Declarations>,
    pub(super) server: Server,
    pub(super) wakes: Arc<Wakes>,
    pub(super) writable: watch::Receiver<Writing>,
    /// Cancelled when no new work is taken.
    pub(super) stop: CancellationToken,
}

/// What the thread runs.
pub(super) struct Running {
    records: Lane<Records>,
    jobs: Lane<Jobs>,
    signal: Arc<Signal>,
    teller: Link,
    trimmer: Link,
    retention: Retention,
    server: Server,
    readers: Arc<Readers>,
    replicas: Arc<Replicas>,
    writable: Writable,
    backup: Option<Receiving>,
    stop: CancellationToken,
}

/// Brings the schema up and puts the parts together.
pub(super) async fn start(
    config: &Config,
    server: Server,
    backup: Option<Receiving>,
) -> Result<(Parts, Running), OpenError> {
    let replicas = Arc::new(Replicas::new(config, &server)?);
    schema::migrate(&connect(&server).await?, server.schema()).await?;
    let (transactions, transaction_inbox) = mpsc::channel(config.queue);
    let (commands, command_inbox) = mpsc::channel(config.queue);
    let declarations = Arc::new(Declarations::default());
    let readers = Readers::new(&server, Arc::clone(&declarations), config.readers, config.read_queue);
    let readers = Arc::new(readers);
    let wakes = Arc::new(Wakes::default());
    let signal = Arc::new(Signal::new(Arc::clone(&wakes), server.schema()));
    let writable = Writable::new();
    let stop = CancellationToken::new();
    let parts = Parts {
        transactions,
        commands,
        readers: Arc::clone(&readers),
        replicas: Arc::clone(&replicas),
        declarations: Arc::clone(&declarations),
        server: server.clone(),
        wakes,
        writable: writable.watch(),
        stop: stop.clone(),
    };
    let backoff = Backoff { base: config.backoff_base, limit: config.backoff_limit };
    let records = Lane {
        batch: Records::new(declarations),
        link: Arc::new(Link::writing(server.clone(), records::STATEMENTS)),
        inbox: transaction_inbox,
        most: config.batch,
        signal: Arc::clone(&signal),
        writable: writable.clone(),
        failures: FailureLog::default(),
    };
    let jobs = Lane {
        batch: Jobs::new(backoff, StdRng::from_os_rng(), writable.clone()),
        link: Arc::new(Link::writing(server.clone(), jobs::STATEMENTS)),
        inbox: command_inbox,
        most: config.batch,
        signal: Arc::clone(&signal),
        writable: writable.clone(),
        failures: FailureLog::default(),
    };
    let teller = Link::new(server.clone(), signal::STATEMENTS);
    // Connects at once, so that a restored database goes on before anybody writes.
    let trimmer = Link::writing(server.clone(), trim::STATEMENTS);
    let retention = config.retention;
    let running = Running {
        records,
        jobs,
        signal,
        teller,
        trimmer,
        retention,
        server,
        readers,
        replicas,
        writable,
        backup,
        stop,
    };
    Ok((parts, running))
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
    pub(super) async fn run(self) {
        let Self { records, jobs, signal, teller, trimmer, retention, server, readers, replicas, .. } = self;
        let Self { writable, backup, stop, .. } = self;
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
            () = note_refusals(backup.as_ref(), &writable) => {}
            () = replicas.watch() => {}
            () = trim::keep_trimmed(&trimmer, &retention) => {}
        }
    }
}

/// Notes whether writes are refused for the backup's sake, also while nobody writes; never ends.
async fn note_refusals(backup: Option<&Receiving>, writable: &Writable) {
    if let Some(backup) = backup {
        let mut standing = backup.standing();
        loop {
            standing.mark_unchanged();
            writable.note_refusal(backup.refusal().is_some());
            if standing.changed().await.is_err() {
                break;
            }
        }
    }
    std::future::pending().await
}
