//! Enqueueing, finding, listing, canceling and retrying jobs.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use database::job::{JobFilter, MAX_ATTEMPTS_LIMIT};
use database::record::PAGE_LIMIT;
use database::{Job, JobCommand, JobState, NewJob, Operation, Outcome, Transaction};
use http::{HeaderMap, StatusCode, header};
use jiff::{SignedDuration, Timestamp};
use process::problem::kinds;
use process::{Identity, Problem};
use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use super::Api;
use super::refusal::{invalid, invalid_at, refuse, refuse_question};
use super::request::{Body, Parameters, Segment, Span, check_id, check_name, read_body};
use super::view::{JobView, JobsView, QueuesView};

/// The namespace that jobs enqueued here belong to.
const NAMESPACE: &str = "worker";

/// What a client enqueues.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NewJobBody {
    kind: String,
    #[serde(default)]
    payload: Value,
    run_at: Option<Timestamp>,
    delay: Option<Span>,
    max_attempts: Option<u32>,
}

/// `POST /queues/{queue}/jobs`
pub(super) async fn enqueue_job(
    State(api): State<Api>,
    Segment(queue): Segment,
    fields: HeaderMap,
    Body(body): Body,
) -> Result<Response, Problem> {
    check_name("", &queue)?;
    let caller = Identity::read(&fields);
    let job = read_new_job(&api, queue, &body, caller.as_ref(), Timestamp::now())?;
    let transaction =
        Transaction { namespace: NAMESPACE.to_owned(), operations: vec![Operation::Enqueue { job }] };
    let committed = api.database.transact(transaction).await.map_err(refuse)?;
    let Some(Outcome::Enqueued { job }) = committed.outcomes.into_iter().next() else {
        return Err(Problem::new(kinds::INTERNAL));
    };
    let location = format!("/jobs/{}", job.id);
    Ok((StatusCode::ACCEPTED, [(header::LOCATION, location)], Json(JobView::watched(job))).into_response())
}

fn read_new_job(
    api: &Api,
    queue: String,
    body: &[u8],
    caller: Option<&Identity>,
    now: Timestamp,
) -> Result<NewJob, Problem> {
    let body: NewJobBody = read_body(body)?;
    check_name("/kind", &body.kind)?;
    if body.max_attempts.is_some_and(|attempts| !(1..=MAX_ATTEMPTS_LIMIT).contains(&attempts)) {
        return Err(invalid_at("/max_attempts", format!("a job has 1 to {MAX_ATTEMPTS_LIMIT} attempts")));
    }
    let run_at = match (body.run_at, body.delay) {
        (Some(_), Some(_)) => return Err(invalid_at("/delay", "give `run_at` or `delay`, not both")),
        (Some(run_at), None) => Some(run_at),
        (None, Some(delay)) => Some(add(now, delay).ok_or_else(|| invalid_at("/delay", "too far away"))?),
        (None, None) => None,
    };
    let payload = match api.kinds.find(&body.kind) {
        Some(kind) => kind.accept(body.payload, caller).map_err(|faults| invalid(beneath_payload(faults)))?,
        None if api.served_queues.contains(&queue) => {
            return Err(invalid_at("/kind", "the workers of this queue have no such kind"));
        }
        // For workers outside, who alone know their kinds.
        None => body.payload,
    };
    Ok(NewJob { run_at, max_attempts: body.max_attempts, ..NewJob::new(queue, body.kind, payload) })
}

/// Gives the time that is so much later, if there is one.
pub(super) fn add(now: Timestamp, delay: Span) -> Option<Timestamp> {
    now.checked_add(SignedDuration::try_from(delay.0).ok()?).ok()
}

fn beneath_payload(mut faults: Vec<process::problem::Fault>) -> Vec<process::problem::Fault> {
    for fault in &mut faults {
        fault.pointer.insert_str(0, "/payload");
    }
    faults
}

/// The parameters of `GET /jobs/{id}`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FindParameters {
    wait: Option<Span>,
}

/// `GET /jobs/{id}[?wait=20s]`: answers with the job as it is when it is final or the wait is over.
pub(super) async fn find_job(
    State(api): State<Api>,
    Segment(id): Segment,
    Parameters(parameters): Parameters<FindParameters>,
) -> Result<Json<JobView>, Problem> {
    check_id(&id)?;
    let wait = parameters.wait.map_or(Duration::ZERO, Span::as_wait);
    let waited = tokio::select! {
        job = api.database.job_when_final(&id, wait) => Some(job),
        () = api.shutdown.requested(), if !wait.is_zero() => None,
    };
    let found = match waited {
        Some(job) => job,
        None => api.database.job(&id).await,
    };
    found.map(|job| Json(JobView::watched(job))).map_err(refuse_question)
}

/// The parameters of `GET /queues/{queue}/jobs`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListParameters {
    state: Option<JobState>,
    limit: Option<u32>,
    after: Option<String>,
}

/// `GET /queues/{queue}/jobs?state=&limit=&after=`
pub(super) async fn list_jobs(
    State(api): State<Api>,
    Segment(queue): Segment,
    Parameters(parameters): Parameters<ListParameters>,
) -> Result<Json<JobsView>, Problem> {
    if parameters.limit.is_some_and(|limit| !(1..=PAGE_LIMIT).contains(&limit)) {
        return Err(Problem::new(kinds::MALFORMED_REQUEST).detail(format!("`limit` is 1 to {PAGE_LIMIT}")));
    }
    // What names no job would otherwise mean a place in the list that nobody was given.
    if parameters.after.as_ref().is_some_and(|after| Uuid::try_parse(after).is_err()) {
        return Err(Problem::new(kinds::MALFORMED_REQUEST).detail("`after` is the `next` of a page before"));
    }
    let filter = JobFilter {
        namespace: None,
        queue: Some(queue),
        state: parameters.state,
        after: parameters.after,
        limit: parameters.limit,
    };
    let page = api.database.jobs(&filter).await.map_err(refuse_question)?;
    let jobs = page.jobs.into_iter().map(JobView::watched).collect();
    Ok(Json(JobsView { jobs, next: page.next }))
}

/// `GET /queues`
pub(super) async fn list_queues(State(api): State<Api>) -> Result<Json<QueuesView>, Problem> {
    let figures = api.database.queues().await.map_err(refuse_question)?;
    Ok(Json(QueuesView { queues: figures.into_iter().map(Into::into).collect() }))
}

/// `POST /jobs/{id}:cancel`
pub(super) async fn cancel_job(api: &Api, id: &str) -> Result<Response, Problem> {
    command_job(api, id, JobCommand::Cancel { id: id.to_owned() }).await
}

/// `POST /jobs/{id}:retry`
pub(super) async fn retry_job(api: &Api, id: &str) -> Result<Response, Problem> {
    command_job(api, id, JobCommand::Retry { id: id.to_owned() }).await
}

/// Does something to one job and answers with the job as it is then.
pub(super) async fn command_job(api: &Api, id: &str, command: JobCommand) -> Result<Response, Problem> {
    check_id(id)?;
    let moved: Vec<Job> = api.database.command(&command).await.map_err(refuse)?;
    let job = match moved.into_iter().next() {
        Some(job) => job,
        None => api.database.job(id).await.map_err(refuse)?,
    };
    Ok(Json(JobView::watched(job)).into_response())
}
