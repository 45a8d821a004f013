//! One attempt at a job: it runs while its lease is kept, until its end, its deadline or a shutdown.

use std::sync::Arc;
use std::time::{Duration, Instant};

use database::{Database, Job};
use process::{TraceContext, trace};
use serde_json::Value;
use tokio::task::{JoinError, JoinSet};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::lease::{self, Lease};
use crate::settle::{Settled, cut_short, settle};
use crate::{Attempt, Config, Failure, Kind, Kinds, Progress, figures};

/// What every attempt of a worker shares.
pub(crate) struct Surroundings {
    pub(crate) config: Config,
    pub(crate) kinds: Kinds,
    pub(crate) database: Database,
    /// Cancelled when the shutdown leaves attempts no more time.
    pub(crate) stop: CancellationToken,
}

/// How the work of an attempt came to an end.
enum Ending {
    Ended(Result<Value, Failure>),
    LeaseLost,
    Stopped,
}

/// Runs one attempt in the job's own trace and writes down how it ended.
pub(crate) async fn run_attempt(around: Arc<Surroundings>, job: Job, lease: Lease) {
    let trace = continue_trace(&job);
    let span = tracing::info_span!(
        "attempt",
        role = "worker",
        trace_id = %trace.trace_id(),
        job = %job.id,
        kind = %job.kind,
        attempt = job.attempt,
    );
    trace::within(trace, run_in_trace(around, job, lease, trace)).instrument(span).await;
}

fn continue_trace(job: &Job) -> TraceContext {
    let parent = job.traceparent.as_deref().and_then(|value| TraceContext::parse(value.as_bytes()));
    match parent {
        Some(parent) => parent.child(&mut rand::rng()),
        None => TraceContext::start(&mut rand::rng()),
    }
}

async fn run_in_trace(around: Arc<Surroundings>, job: Job, lease: Lease, trace: TraceContext) {
    let started = Instant::now();
    let kind = around.kinds.find(&job.kind);
    // Not the job's own text: whoever enqueues could make a figure for every name they think of.
    let kind_name = kind.map_or("unknown", |kind| kind.name());
    let running = figures::RUNNING.with_label_values(&[kind_name]);
    running.inc();
    let ending = match kind {
        Some(kind) => work(&around, Arc::clone(kind), &job, lease, trace).await,
        // A newer worker may know the kind, so this one leaves it the other attempts.
        None => Ending::Ended(Err(Failure::passing(format!("this worker has no kind `{}`", job.kind)))),
    };
    running.dec();
    let outcome = conclude(&around, &job, ending).await;
    let elapsed = started.elapsed();
    figures::ATTEMPTS.with_label_values(&[kind_name, outcome]).inc();
    figures::ATTEMPT_SECONDS.with_label_values(&[kind_name]).observe(elapsed.as_secs_f64());
    tracing::debug!(outcome, duration_us = elapsed.as_micros(), "an attempt ended");
}

/// Runs the kind in a task of its own, so that neither its panic nor its blocking ends the heartbeat.
async fn work(
    around: &Surroundings,
    kind: Arc<dyn Kind>,
    job: &Job,
    lease: Lease,
    trace: TraceContext,
) -> Ending {
    let progress = Progress::default();
    let deadline = kind.deadline().unwrap_or(around.config.attempt_timeout);
    let attempt = Attempt { job: job.clone(), progress: progress.clone() };
    let mut task = JoinSet::new();
    task.spawn(trace::within(trace, async move { kind.run(attempt).await }).in_current_span());
    let ending = tokio::select! {
        biased;
        joined = task.join_next() => Ending::Ended(joined.map_or_else(|| Err(broken_off()), read_join)),
        () = lease::keep(&around.database, job, lease, &progress) => Ending::LeaseLost,
        () = sleep(deadline) => Ending::Ended(Err(overdue(deadline))),
        () = around.stop.cancelled() => Ending::Stopped,
    };
    // Waits, so that the place is not given to another job while this one still works.
    task.shutdown().await;
    ending
}

fn read_join(joined: Result<Result<Value, Failure>, JoinError>) -> Result<Value, Failure> {
    joined.unwrap_or_else(|error| {
        tracing::error!(%error, "an attempt broke off");
        Err(broken_off())
    })
}

fn broken_off() -> Failure {
    Failure::passing("the attempt broke off inside the worker")
}

fn overdue(deadline: Duration) -> Failure {
    Failure::passing(format!("the attempt did not end within {}", process::duration::format(deadline)))
}

/// Writes the end down; gives the outcome as the figures name it.
async fn conclude(around: &Surroundings, job: &Job, ending: Ending) -> &'static str {
    let (ended, outcome) = match ending {
        Ending::Ended(Ok(result)) => (Ok(result), "succeeded"),
        Ending::Ended(Err(failure)) => {
            tracing::info!(reason = failure.reason, retry = ?failure.retry, "an attempt failed");
            (Err(failure), "failed")
        }
        Ending::LeaseLost => {
            tracing::info!("an attempt was stopped: its lease is lost or the job was canceled");
            return "lost";
        }
        Ending::Stopped => (Err(cut_short()), "stopped"),
    };
    // Longer than the lease: while nobody else could claim, the token still holds when the database returns.
    match settle(&around.database, job, &ended, around.config.lease * 2).await {
        Settled::Written => outcome,
        Settled::Lost => {
            tracing::info!("the end of an attempt was refused: the lease is lost");
            "lost"
        }
        Settled::Unwritten => "lost",
    }
}
