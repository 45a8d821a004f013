//! The queue API: enqueue jobs, watch them, and pull them from outside.
//!
//! | request | does |
//! |---|---|
//! | `POST /queues/{queue}/jobs` | enqueues a job: 202 once it is durable |
//! | `GET /queues/{queue}/jobs` | lists a queue's jobs, newest first |
//! | `GET /queues` | tells how full each queue is |
//! | `GET /jobs/{id}?wait=20s` | finds a job, waiting until it is final |
//! | `POST /jobs/{id}:cancel`, `:retry` | calls a job off; makes a dead or canceled one ready again |
//! | `POST /queues/{queue}:lease` | leases jobs to a worker outside |
//! | `POST /jobs/{id}:ack`, `:fail`, `:extend` | ends or keeps such a lease, fenced by its token |

mod jobs;
mod leases;
mod refusal;
mod request;
mod view;

use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Router, middleware};
use database::Database;
use process::problem::kinds as problems;
use process::{ClusterToken, Health, Problem, Shutdown, coding, token};

use crate::Kinds;
use request::{BODY_LIMIT, Body, Segment};

/// What the API's handlers share.
#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) database: Database,
    pub(crate) kinds: Kinds,
    /// The queues this worker runs itself, whose jobs must therefore be of a kind it has.
    pub(crate) served_queues: Arc<[String]>,
    pub(crate) shutdown: Shutdown,
}

/// Makes the routes; all but health take the cluster token.
pub(crate) fn router(api: Api, health: &Health, token: &ClusterToken) -> Router {
    Router::new()
        .route("/queues", get(jobs::list_queues))
        .route("/queues/{queue}", post(act_on_queue))
        .route("/queues/{queue}/jobs", get(jobs::list_jobs).post(jobs::enqueue_job))
        .route("/jobs/{job}", get(jobs::find_job).post(act_on_job))
        .with_state(api)
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .layer(middleware::from_fn(coding::refuse_coded))
        .layer(middleware::from_fn_with_state(token.clone(), token::require))
        .merge(health.routes())
        .fallback(async || Problem::new(problems::NOT_FOUND))
        .method_not_allowed_fallback(async || Problem::new(problems::METHOD_NOT_ALLOWED))
        .layer(middleware::from_fn_with_state("worker", process::http::observe))
}

/// `POST /queues/{queue}:lease`: one path segment, so it is taken apart here.
async fn act_on_queue(State(api): State<Api>, Segment(target): Segment, Body(body): Body) -> Response {
    let answer = match target.rsplit_once(':') {
        Some((queue, "lease")) => leases::lease_jobs(&api, queue, &body).await,
        _ => Err(Problem::new(problems::NOT_FOUND).detail("there is no such action on a queue")),
    };
    answer.into_response()
}

/// `POST /jobs/{id}:{action}`: one path segment, so it is taken apart here.
async fn act_on_job(State(api): State<Api>, Segment(target): Segment, Body(body): Body) -> Response {
    let answer = match target.rsplit_once(':') {
        Some((id, "cancel")) => jobs::cancel_job(&api, id).await,
        Some((id, "retry")) => jobs::retry_job(&api, id).await,
        Some((id, "ack")) => leases::ack_job(&api, id, &body).await,
        Some((id, "fail")) => leases::fail_job(&api, id, &body).await,
        Some((id, "extend")) => leases::extend_lease(&api, id, &body).await,
        _ => Err(Problem::new(problems::NOT_FOUND).detail("there is no such action on a job")),
    };
    answer.into_response()
}
