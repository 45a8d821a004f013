//! What the worker counts; how full the queues are is counted by the database.

use std::sync::LazyLock;

use process::metrics;
use prometheus::{HistogramVec, IntCounterVec, IntGaugeVec};

/// Attempts ended, by kind and outcome: succeeded, failed, lost (its lease) or stopped (by a shutdown).
pub(crate) static ATTEMPTS: LazyLock<IntCounterVec> =
    LazyLock::new(|| metrics::counter("sixfold_job_attempts_total", "Attempts ended.", &["kind", "outcome"]));

/// Seconds an attempt took, by kind.
pub(crate) static ATTEMPT_SECONDS: LazyLock<HistogramVec> = LazyLock::new(|| {
    metrics::latency("sixfold_job_attempt_seconds", "Seconds from an attempt's start to its end.", &["kind"])
});

/// Attempts that run now, by kind.
pub(crate) static RUNNING: LazyLock<IntGaugeVec> =
    LazyLock::new(|| metrics::gauge("sixfold_job_attempts_running", "Attempts that run now.", &["kind"]));

/// Claims answered, by what they found: jobs, none or error.
pub(crate) static CLAIMS: LazyLock<IntCounterVec> =
    LazyLock::new(|| metrics::counter("sixfold_job_claims_total", "Claims answered.", &["found"]));
