//! A job as clients see it.

use std::time::Duration;

use database::job::QueueFigures;
use database::{Job, JobState};
use jiff::Timestamp;
use process::TraceContext;
use serde::Serialize;
use serde_json::Value;

/// A job as it is answered; the payload and the lease are shown only to those who need them.
#[derive(Debug, Serialize)]
pub(super) struct JobView {
    id: String,
    queue: String,
    kind: String,
    state: JobState,
    attempt: u32,
    max_attempts: u32,
    result: Option<Value>,
    error: Option<String>,
    progress: Option<f64>,
    run_at: Timestamp,
    created_at: Timestamp,
    updated_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lease_token: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lease_until: Option<Timestamp>,
}

impl JobView {
    /// The job as whoever watches it sees it.
    pub(super) fn watched(job: Job) -> Self {
        let trace = job.traceparent.as_deref().and_then(|value| TraceContext::parse(value.as_bytes()));
        Self {
            id: job.id,
            queue: job.queue,
            kind: job.kind,
            state: job.state,
            attempt: job.attempt,
            max_attempts: job.max_attempts,
            result: job.result,
            error: job.error,
            progress: job.progress,
            run_at: job.run_at,
            created_at: job.created_at,
            updated_at: job.updated_at,
            trace_id: trace.map(|trace| trace.trace_id()),
            payload: None,
            lease_token: None,
            lease_until: None,
        }
    }

    /// The job as the worker that leased it sees it.
    pub(super) fn leased(mut job: Job) -> Self {
        let payload = job.payload.take();
        let (lease_token, lease_until) = (job.lease_token, job.lease_until);
        Self { payload: Some(payload), lease_token: Some(lease_token), lease_until, ..Self::watched(job) }
    }
}

/// Some jobs in order.
#[derive(Debug, Serialize)]
pub(super) struct JobsView {
    pub(super) jobs: Vec<JobView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) next: Option<String>,
}

/// How full the queues are.
#[derive(Debug, Serialize)]
pub(super) struct QueuesView {
    pub(super) queues: Vec<QueueView>,
}

/// How full one queue is.
#[derive(Debug, Serialize)]
pub(super) struct QueueView {
    queue: String,
    scheduled: u64,
    ready: u64,
    leased: u64,
    dead: u64,
    oldest_ready_seconds: Option<f64>,
}

impl From<QueueFigures> for QueueView {
    fn from(figures: QueueFigures) -> Self {
        Self {
            queue: figures.queue,
            scheduled: figures.scheduled,
            ready: figures.ready,
            leased: figures.leased,
            dead: figures.dead,
            oldest_ready_seconds: figures.oldest_ready.as_ref().map(Duration::as_secs_f64),
        }
    }
}
