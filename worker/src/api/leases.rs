//! Pulling jobs from outside: lease, then ack, fail or extend under the lease's token.

use axum::Json;
use axum::response::{IntoResponse, Response};
use database::JobCommand;
use database::job::Retry;
use jiff::Timestamp;
use process::Problem;
use serde::Deserialize;
use serde_json::Value;

use super::Api;
use super::jobs::{add, command_job};
use super::refusal::{invalid_at, refuse};
use super::request::{Span, check_name, read_body};
use super::view::{JobView, JobsView};

/// How long a lease holds unless the worker asks for another time, in milliseconds.
const DEFAULT_LEASE_MS: u64 = 30_000;

/// The longest lease, in milliseconds: a job of a dead worker waits no longer than this.
const LONGEST_LEASE_MS: u64 = 3_600_000;

/// The most jobs one request may lease.
const MOST_JOBS: u32 = 100;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LeaseBody {
    limit: Option<u32>,
    lease: Option<Span>,
    wait: Option<Span>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AckBody {
    lease_token: u64,
    #[serde(default)]
    result: Value,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FailBody {
    lease_token: u64,
    error: String,
    /// Whether another attempt may help.
    #[serde(default = "yes")]
    retry: bool,
    /// When, instead of backoff.
    retry_after: Option<Span>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ExtendBody {
    lease_token: u64,
    lease: Option<Span>,
    progress: Option<f64>,
}

fn yes() -> bool {
    true
}

/// `POST /queues/{queue}:lease`
///
/// A client that goes away while it waits is leased nothing, but one that goes away in the moment of the
/// answer leaves its jobs leased until the lease lapses.
pub(super) async fn lease_jobs(api: &Api, queue: &str, body: &[u8]) -> Result<Response, Problem> {
    check_name("", queue)?;
    let body: LeaseBody = read_body(body)?;
    let limit = body.limit.unwrap_or(1);
    if !(1..=MOST_JOBS).contains(&limit) {
        return Err(invalid_at("/limit", format!("1 to {MOST_JOBS} jobs at a time")));
    }
    let command = JobCommand::Claim {
        queues: vec![queue.to_owned()],
        limit,
        lease_ms: lease_ms(body.lease)?,
        wait_ms: body.wait.map_or(0, |wait| Span(wait.as_wait()).millis()),
    };
    let claimed = tokio::select! {
        claimed = api.database.command(&command) => claimed.map_err(refuse)?,
        () = api.shutdown.requested() => Vec::new(),
    };
    let jobs = claimed.into_iter().map(JobView::leased).collect();
    Ok(Json(JobsView { jobs, next: None }).into_response())
}

/// `POST /jobs/{id}:ack`
pub(super) async fn ack_job(api: &Api, id: &str, body: &[u8]) -> Result<Response, Problem> {
    let AckBody { lease_token, result } = read_body(body)?;
    command_job(api, id, JobCommand::Succeed { id: id.to_owned(), lease_token, result }).await
}

/// `POST /jobs/{id}:fail`
pub(super) async fn fail_job(api: &Api, id: &str, body: &[u8]) -> Result<Response, Problem> {
    let FailBody { lease_token, error, retry, retry_after } = read_body(body)?;
    let retry = match (retry, retry_after) {
        (false, _) => Retry::Never,
        (true, Some(after)) if add(Timestamp::now(), after).is_none() => {
            return Err(invalid_at("/retry_after", "too far away"));
        }
        (true, Some(after)) => Retry::AfterMs(after.millis()),
        (true, None) => Retry::Backoff,
    };
    command_job(api, id, JobCommand::Fail { id: id.to_owned(), lease_token, error, retry }).await
}

/// `POST /jobs/{id}:extend`
pub(super) async fn extend_lease(api: &Api, id: &str, body: &[u8]) -> Result<Response, Problem> {
    let ExtendBody { lease_token, lease, progress } = read_body(body)?;
    if progress.is_some_and(|progress| !(0.0..=1.0).contains(&progress)) {
        return Err(invalid_at("/progress", "a progress is 0 to 1"));
    }
    let lease_ms = lease_ms(lease)?;
    command_job(api, id, JobCommand::Extend { id: id.to_owned(), lease_token, lease_ms, progress }).await
}

fn lease_ms(asked: Option<Span>) -> Result<u64, Problem> {
    match asked.map_or(DEFAULT_LEASE_MS, Span::millis) {
        length @ 1..=LONGEST_LEASE_MS => Ok(length),
        _ => Err(invalid_at("/lease", "a lease is 1ms to 1h")),
    }
}
