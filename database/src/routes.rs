//! What the database role answers on its port.
//!
//! The bodies are the types of this crate as JSON. What the database refuses is [`Error`] as JSON; a
//! request that cannot be understood is a problem document.

use std::time::Duration;

use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, FromRequestParts, Query as Parameters, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router, middleware};
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use process::problem::kinds;
use process::{ClusterToken, Health, Problem};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::access::Access;
use crate::engine::Engine;
use crate::job::JobFilter;
use crate::record::PAGE_LIMIT;
use crate::{Config, Error, JobCommand, Query, Transaction, backup};

/// How long a caller waits before it repeats what was refused for too much work.
const RETRY_AFTER_SECONDS: &str = "1";

/// What every route needs.
#[derive(Debug, Clone)]
pub(crate) struct Served {
    pub(crate) engine: Engine,
    pub(crate) token: ClusterToken,
}

/// Makes the role's routes.
pub(crate) fn router(served: Served, health: &Health, config: &Config) -> Router {
    let body_limit = usize::try_from(config.body_limit).unwrap_or(usize::MAX);
    Router::new()
        .route("/v1/transact", post(transact))
        .route("/v1/query", post(query))
        .route("/v1/changes", get(changes))
        .route("/v1/jobs/command", post(command))
        .route("/v1/jobs/get", post(job))
        .route("/v1/jobs/list", post(jobs))
        .route("/v1/queues", post(queues))
        .route("/v1/backup", post(write_backup))
        .method_not_allowed_fallback(async || Problem::new(kinds::METHOD_NOT_ALLOWED))
        .layer(middleware::from_fn_with_state(served.token.clone(), authenticate))
        .layer(DefaultBodyLimit::max(body_limit))
        .with_state(served)
        .merge(health.routes())
        .fallback(async || Problem::new(kinds::NOT_FOUND))
        .layer(middleware::from_fn_with_state("database", process::http::observe))
}

/// Turns away who presents nothing, before any body is read, and notes what the others present.
async fn authenticate(
    State(token): State<ClusterToken>,
    mut request: Request,
    next: middleware::Next,
) -> Response {
    match Access::of(request.headers(), &token) {
        Some(access) => {
            request.extensions_mut().insert(access);
            next.run(request).await
        }
        None => Problem::new(kinds::UNAUTHENTICATED)
            .detail("this port takes the cluster token or a namespace's credential")
            .into_response(),
    }
}

/// What the caller may do; noted by [`authenticate`].
struct Caller(Access);

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut http::request::Parts, _: &S) -> Result<Self, Problem> {
        let access = parts.extensions.get::<Access>().cloned();
        access.map(Self).ok_or_else(|| Problem::new(kinds::UNAUTHENTICATED))
    }
}

/// Why a request is not answered with what it asked for.
enum Refusal {
    /// The database's own answer.
    Database(Error),
    /// The request cannot be understood.
    Problem(Problem),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Database(error)
    }
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let error = match self {
            Self::Problem(problem) => return problem.into_response(),
            Self::Database(Error::Storage { reason }) => {
                tracing::error!(reason, "the storage failed");
                Error::Storage { reason: "the storage failed; the database's log says how".into() }
            }
            Self::Database(error) => error,
        };
        let status = match &error {
            Error::NotFound { .. } => StatusCode::NOT_FOUND,
            Error::PreconditionFailed { .. } => StatusCode::PRECONDITION_FAILED,
            Error::LeaseLost { .. } | Error::WrongState { .. } => StatusCode::CONFLICT,
            Error::Invalid { .. } => StatusCode::UNPROCESSABLE_ENTITY,
            Error::Forbidden => StatusCode::FORBIDDEN,
            Error::Overloaded | Error::Unavailable { .. } => {
                let retry_after = [(header::RETRY_AFTER, RETRY_AFTER_SECONDS)];
                return (StatusCode::SERVICE_UNAVAILABLE, retry_after, Json(error)).into_response();
            }
            Error::Unknown { .. } | Error::Storage { .. } => StatusCode::INTERNAL_SERVER_ERROR,
        };
        (status, Json(error)).into_response()
    }
}

type Answer<T> = Result<Json<T>, Refusal>;

/// A body as it arrived, or why it did not.
type Body = Result<Bytes, BytesRejection>;

async fn transact(
    State(served): State<Served>,
    Caller(access): Caller,
    fields: HeaderMap,
    body: Body,
) -> Answer<crate::Committed> {
    let transaction: Transaction = read(&fields, body)?;
    access.check(Some(&transaction.namespace), &served.token)?;
    Ok(Json(served.engine.transact(&transaction).await?))
}

#[derive(Deserialize)]
struct QueryParameters {
    namespace: String,
}

async fn query(
    State(served): State<Served>,
    Caller(access): Caller,
    parameters: Result<Parameters<QueryParameters>, axum::extract::rejection::QueryRejection>,
    fields: HeaderMap,
    body: Body,
) -> Answer<crate::Page> {
    let Parameters(QueryParameters { namespace }) = parameters.map_err(malformed)?;
    access.check(Some(&namespace), &served.token)?;
    let query: Query = read(&fields, body)?;
    Ok(Json(served.engine.query(&namespace, &query).await?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChangesParameters {
    namespace: Option<String>,
    #[serde(default)]
    after: u64,
    limit: Option<u32>,
    #[serde(default)]
    wait_ms: u64,
}

async fn changes(
    State(served): State<Served>,
    Caller(access): Caller,
    parameters: Result<Parameters<ChangesParameters>, axum::extract::rejection::QueryRejection>,
) -> Answer<Vec<crate::Change>> {
    let Parameters(asked) = parameters.map_err(malformed)?;
    let namespace = asked.namespace.as_deref();
    access.check(namespace, &served.token)?;
    let (limit, wait) = (asked.limit.unwrap_or(PAGE_LIMIT), Duration::from_millis(asked.wait_ms));
    Ok(Json(served.engine.changes(namespace, asked.after, limit, wait).await?))
}

async fn command(
    State(served): State<Served>,
    Caller(access): Caller,
    fields: HeaderMap,
    body: Body,
) -> Answer<Vec<crate::Job>> {
    access.check(None, &served.token)?;
    let command: JobCommand = read(&fields, body)?;
    Ok(Json(served.engine.command(&command).await?))
}

#[derive(Deserialize)]
struct WaitParameters {
    #[serde(default)]
    wait_ms: u64,
}

async fn job(
    State(served): State<Served>,
    Caller(access): Caller,
    parameters: Result<Parameters<WaitParameters>, axum::extract::rejection::QueryRejection>,
    fields: HeaderMap,
    body: Body,
) -> Answer<crate::Job> {
    access.check(None, &served.token)?;
    let Parameters(WaitParameters { wait_ms }) = parameters.map_err(malformed)?;
    let id: String = read(&fields, body)?;
    Ok(Json(served.engine.job_when_final(&id, Duration::from_millis(wait_ms)).await?))
}

async fn jobs(
    State(served): State<Served>,
    Caller(access): Caller,
    fields: HeaderMap,
    body: Body,
) -> Answer<crate::job::JobPage> {
    access.check(None, &served.token)?;
    let filter: JobFilter = read(&fields, body)?;
    Ok(Json(served.engine.jobs(&filter).await?))
}

async fn queues(
    State(served): State<Served>,
    Caller(access): Caller,
) -> Answer<Vec<crate::job::QueueFigures>> {
    access.check(None, &served.token)?;
    Ok(Json(served.engine.queues().await?))
}

async fn write_backup(
    State(served): State<Served>,
    Caller(access): Caller,
    fields: HeaderMap,
    body: Body,
) -> Answer<backup::Report> {
    access.check(None, &served.token)?;
    let request: backup::Request = read(&fields, body)?;
    let done = backup::of_engine(&served.engine, request.file).await;
    Ok(Json(done.map_err(|error| Error::Invalid { reason: error.to_string() })?))
}

/// Reads a JSON body; only one that says it is JSON, which a web page cannot send across origins unasked.
fn read<T: DeserializeOwned + Serialize>(fields: &HeaderMap, body: Body) -> Result<T, Problem> {
    let media_type = fields.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    if media_type.split(';').next().unwrap_or("").trim() != "application/json" {
        return Err(Problem::new(kinds::UNSUPPORTED_MEDIA_TYPE).detail("send application/json"));
    }
    let body = body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Problem::new(kinds::BODY_TOO_LARGE),
        _ => malformed(rejection),
    })?;
    serde_json::from_slice(&body).map_err(malformed)
}

fn malformed(error: impl ToString) -> Problem {
    Problem::new(kinds::MALFORMED_REQUEST).detail(error.to_string())
}
