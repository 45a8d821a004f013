//! What a job does: each kind is a [`Kind`], and [`Kinds`] is the plain list a worker runs.
//!
//! A kind may be run again after it has done its work, when its worker died before that was written down.

mod aggregate;
mod deliver;
mod order_confirm;
mod payload;
mod report;
mod verdict;

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cache::Cache;
use database::job::Retry;
use database::{Database, Error, Job};
use process::problem::Fault;
use process::{ClusterToken, Identity, Services};
use serde_json::Value;

use deliver::Deliver;
use order_confirm::OrderConfirm;
pub(crate) use payload::read_payload;
use report::Report;

/// What an attempt runs: it ends with the job's result or the reason of its failure.
pub type Running<'a> = Pin<Box<dyn Future<Output = Result<Value, Failure>> + Send + 'a>>;

/// What a job does.
pub trait Kind: Send + Sync + 'static {
    /// The name jobs ask for it by.
    fn name(&self) -> &'static str;

    /// How long one attempt may take; the configured `attempt_timeout` without an answer.
    fn deadline(&self) -> Option<Duration> {
        None
    }

    /// Checks a payload before it is enqueued, and gives the payload to store.
    ///
    /// `caller` is the user it comes from, as a gateway tells; without one it comes from the house itself.
    fn accept(&self, payload: Value, caller: Option<&Identity>) -> Result<Value, Vec<Fault>>;

    /// Runs one attempt. Dropping the future stops it: its lease is lost, or its time is over.
    fn run(&self, attempt: Attempt) -> Running<'_>;
}

/// One attempt at a job.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// The job as it was claimed.
    pub job: Job,
    /// Where the attempt says how far it is.
    pub progress: Progress,
}

/// How far an attempt is, as the next heartbeat will tell; clones share one figure.
#[derive(Debug, Clone, Default)]
pub struct Progress(Arc<AtomicU64>);

impl Progress {
    /// Says how far the attempt is, 0 to 1.
    pub fn report(&self, fraction: f64) {
        self.0.store(fraction.clamp(0.0, 1.0).to_bits(), Ordering::Relaxed);
    }

    /// Gives what was last reported, if anything.
    pub fn latest(&self) -> Option<f64> {
        Some(f64::from_bits(self.0.load(Ordering::Relaxed))).filter(|fraction| *fraction > 0.0)
    }
}

/// Why an attempt failed, and whether another one may help.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What the job's `error` will say; it must tell nothing internal.
    pub reason: String,
    /// Whether and when to try again.
    pub retry: Retry,
}

impl Failure {
    /// A failure that may pass: tried again with backoff.
    pub fn passing(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), retry: Retry::Backoff }
    }

    /// A failure that would happen again.
    pub fn never(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), retry: Retry::Never }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        tracing::debug!(%error, "the database refused an attempt");
        match error {
            Error::NotFound { what } => Self::never(format!("there is no {what}")),
            Error::Invalid { reason } => Self::never(reason),
            Error::Forbidden => Self::never("the worker may not do this"),
            Error::Overloaded => Self::passing("the database has too much work waiting"),
            Error::Unavailable { .. } | Error::Unknown { .. } => Self::passing("the database is unavailable"),
            _ => Self::passing("the database did not do what was asked"),
        }
    }
}

/// The kinds a worker runs; clones share them.
#[derive(Clone)]
pub struct Kinds(Arc<[Arc<dyn Kind>]>);

impl Kinds {
    /// Makes a list of kinds; of two with one name the first counts.
    pub fn new(kinds: Vec<Arc<dyn Kind>>) -> Self {
        Self(kinds.into())
    }

    /// The kinds every worker has.
    pub fn built_in(
        services: &Services,
        database: &Database,
        cache: &Cache,
        token: &ClusterToken,
        closed_namespaces: &[String],
    ) -> Self {
        Self::new(vec![
            Arc::new(Report::new(database.clone(), closed_namespaces.to_vec())),
            Arc::new(OrderConfirm::new(database.clone(), cache.clone(), closed_namespaces.to_vec())),
            Arc::new(Deliver::new(services.clone(), token)),
        ])
    }

    /// Finds a kind by its name.
    pub fn find(&self, name: &str) -> Option<&Arc<dyn Kind>> {
        self.0.iter().find(|kind| kind.name() == name)
    }
}
