//! The commands that move jobs on.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What a worker or an operator does to jobs; each is durable before it is answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum JobCommand {
    /// Takes up to `limit` ready jobs of the queues, oldest `run_at` first, and leases them.
    Claim {
        /// The queues to take from.
        queues: Vec<String>,
        /// The most jobs.
        limit: u32,
        /// How long the lease holds unless extended, in milliseconds.
        lease_ms: u64,
        /// How long to wait for a job when there is none, in milliseconds; at most 20,000.
        #[serde(default)]
        wait_ms: u64,
    },
    /// Keeps a lease; refused with [`crate::Error::LeaseLost`] when another one is newer.
    Extend {
        /// The job.
        id: String,
        /// The fencing token of the lease.
        lease_token: u64,
        /// How long it holds from now, in milliseconds.
        lease_ms: u64,
        /// How far the attempt is, 0 to 1.
        #[serde(default)]
        progress: Option<f64>,
    },
    /// Ends an attempt well; fenced like [`JobCommand::Extend`].
    Succeed {
        /// The job.
        id: String,
        /// The fencing token of the lease.
        lease_token: u64,
        /// What it returned.
        result: Value,
    },
    /// Ends an attempt badly; fenced like [`JobCommand::Extend`].
    Fail {
        /// The job.
        id: String,
        /// The fencing token of the lease.
        lease_token: u64,
        /// Why.
        error: String,
        /// Whether and when it may run again.
        retry: Retry,
    },
    /// Calls a job off; a leased one loses its lease, so its worker's next command is refused.
    Cancel {
        /// The job.
        id: String,
    },
    /// Makes a dead or canceled job ready again with fresh attempts.
    Retry {
        /// The job.
        id: String,
    },
}

impl JobCommand {
    /// Gives the name it is counted under.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Claim { .. } => "claim",
            Self::Extend { .. } => "extend",
            Self::Succeed { .. } => "succeed",
            Self::Fail { .. } => "fail",
            Self::Cancel { .. } => "cancel",
            Self::Retry { .. } => "retry",
        }
    }

    /// How long it may be kept waiting for a job.
    pub(crate) fn wait(&self) -> Duration {
        match self {
            Self::Claim { wait_ms, .. } => Duration::from_millis(*wait_ms),
            _ => Duration::ZERO,
        }
    }
}

/// Whether and when a failed job runs again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Retry {
    /// After exponential backoff with jitter, while attempts are left.
    Backoff,
    /// After this many milliseconds, while attempts are left (`Retry-After`).
    AfterMs(u64),
    /// Never: a repeat would fail again.
    Never,
}
