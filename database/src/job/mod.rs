//! Jobs: their states, how they are made, and the commands that move them on.
//!
//! `scheduled → ready → leased → succeeded | dead | canceled`; a failed attempt goes back to `scheduled`
//! until its attempts are spent. A lease carries a fencing token that grows with every lease of the job, so
//! that a worker which lost its lease cannot finish what another one has taken over.

pub(crate) mod backoff;
mod command;
pub(crate) mod lease;

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use self::command::{JobCommand, Retry};
use crate::time;

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// It waits for its time.
    Scheduled,
    /// It can be claimed.
    Ready,
    /// A worker has it.
    Leased,
    /// It is done.
    Succeeded,
    /// Its attempts are spent.
    Dead,
    /// Somebody called it off.
    Canceled,
}

impl JobState {
    /// Tells whether the job will not move again by itself.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Dead | Self::Canceled)
    }

    /// Gives the word that is stored: whether a waiting job is scheduled or ready is told by its time.
    pub(crate) fn stored(self) -> &'static str {
        match self {
            Self::Scheduled | Self::Ready => "waiting",
            Self::Leased => "leased",
            Self::Succeeded => "succeeded",
            Self::Dead => "dead",
            Self::Canceled => "canceled",
        }
    }

    /// Gives the condition that rows of jobs in this state meet; `now` is how the time is written there.
    pub(crate) fn condition(self, now: &str) -> String {
        let is_stored = format!("state = '{}'", self.stored());
        match self {
            Self::Scheduled => format!("{is_stored} AND run_at > {now}"),
            Self::Ready => format!("{is_stored} AND run_at <= {now}"),
            Self::Leased | Self::Succeeded | Self::Dead | Self::Canceled => is_stored,
        }
    }

    /// Reads the stored word of a job whose time has come or not; `None` if it is none.
    pub(crate) fn from_stored(word: &str, is_due: bool) -> Option<Self> {
        Some(match word {
            "waiting" if is_due => Self::Ready,
            "waiting" => Self::Scheduled,
            "leased" => Self::Leased,
            "succeeded" => Self::Succeeded,
            "dead" => Self::Dead,
            "canceled" => Self::Canceled,
            _ => return None,
        })
    }
}

impl fmt::Display for JobState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Scheduled => "scheduled",
            Self::Ready => "ready",
            Self::Leased => "leased",
            Self::Succeeded => "succeeded",
            Self::Dead => "dead",
            Self::Canceled => "canceled",
        })
    }
}

/// How many attempts a job has unless it says otherwise.
pub const DEFAULT_MAX_ATTEMPTS: u32 = 5;

/// The most attempts a job may ask for; a job that fails this often needs a person.
pub const MAX_ATTEMPTS_LIMIT: u32 = 1000;

/// The longest a claim, a listing of changes or a look at a job may wait, in milliseconds.
pub const WAIT_LIMIT_MS: u64 = 20_000;

/// A job to be put into a queue.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewJob {
    /// The queue.
    pub queue: String,
    /// What the worker is to do: `report`, `order.confirm`, `http`, …
    pub kind: String,
    /// What the kind needs to know.
    #[serde(default)]
    pub payload: Value,
    /// The earliest time it may run; at once without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_at: Option<Timestamp>,
    /// The most attempts; [`DEFAULT_MAX_ATTEMPTS`] without a number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_attempts: Option<u32>,
    /// The trace it belongs to, as a `traceparent` value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
}

impl NewJob {
    /// Makes a job that may run at once and continues the present trace.
    pub fn new(queue: impl Into<String>, kind: impl Into<String>, payload: Value) -> Self {
        let traceparent =
            process::trace::current().map(|trace| String::from_utf8_lossy(&trace.write()).into_owned());
        Self {
            queue: queue.into(),
            kind: kind.into(),
            payload,
            run_at: None,
            max_attempts: None,
            traceparent,
        }
    }

    /// Makes the job as it stands when it enters its queue.
    pub(crate) fn into_job(self, namespace: &str, now: Timestamp) -> Job {
        let run_at = self.run_at.map_or(now, |run_at| time::from_stored(time::to_stored(run_at)));
        Job {
            id: uuid::Uuid::now_v7().to_string(),
            namespace: namespace.to_owned(),
            queue: self.queue,
            kind: self.kind,
            state: if run_at > now { JobState::Scheduled } else { JobState::Ready },
            attempt: 0,
            max_attempts: self.max_attempts.unwrap_or(DEFAULT_MAX_ATTEMPTS),
            payload: self.payload,
            result: None,
            error: None,
            progress: None,
            lease_token: 0,
            lease_until: None,
            run_at,
            created_at: now,
            updated_at: now,
            traceparent: self.traceparent,
        }
    }
}

/// A job as it stands in its queue.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// Its name: a UUID of version 7.
    pub id: String,
    /// The namespace that enqueued it.
    pub namespace: String,
    /// The queue.
    pub queue: String,
    /// What the worker is to do.
    pub kind: String,
    /// Where it stands.
    pub state: JobState,
    /// How many attempts were begun.
    pub attempt: u32,
    /// The most attempts.
    pub max_attempts: u32,
    /// What the kind needs to know.
    pub payload: Value,
    /// What the last attempt returned, once it succeeded.
    pub result: Option<Value>,
    /// Why the last attempt failed.
    pub error: Option<String>,
    /// How far the present attempt says it is, 0 to 1.
    pub progress: Option<f64>,
    /// The fencing token of the latest lease; 0 before the first.
    pub lease_token: u64,
    /// When the present lease ends, while leased.
    pub lease_until: Option<Timestamp>,
    /// The earliest time it may run.
    pub run_at: Timestamp,
    /// When it was enqueued.
    pub created_at: Timestamp,
    /// When it last moved.
    pub updated_at: Timestamp,
    /// The trace it belongs to.
    pub traceparent: Option<String>,
}

/// Jobs of a page that does not say how many.
const DEFAULT_PAGE: u32 = 100;

/// What to look for in a listing of jobs.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct JobFilter {
    /// Only this namespace.
    pub namespace: Option<String>,
    /// Only this queue.
    pub queue: Option<String>,
    /// Only this state.
    pub state: Option<JobState>,
    /// The ID after which the page starts; newest first.
    pub after: Option<String>,
    /// The most jobs; 100 without a number, at most 1000.
    pub limit: Option<u32>,
}

impl JobFilter {
    /// Gives how many jobs a page has at most.
    pub(crate) fn limit(&self) -> u32 {
        self.limit.unwrap_or(DEFAULT_PAGE)
    }
}

/// Some jobs in order.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct JobPage {
    /// The jobs, newest first.
    pub jobs: Vec<Job>,
    /// Where the next page starts, when there is more; pass it as `after`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// How full one queue is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QueueFigures {
    /// The queue.
    pub queue: String,
    /// Jobs that wait for their time.
    pub scheduled: u64,
    /// Jobs that can be claimed.
    pub ready: u64,
    /// Jobs that a worker has.
    pub leased: u64,
    /// Jobs whose attempts are spent.
    pub dead: u64,
    /// How long the oldest ready job has waited.
    pub oldest_ready: Option<Duration>,
}
