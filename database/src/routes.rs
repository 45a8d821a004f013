//! What the database role answers on its port.
//!
//! The bodies are the types of this crate as JSON. Every refusal is a problem document; what the database
//! itself refuses has the members of [`crate::Error`] beside, which our own handle reads.

use std::time::Duration;

use axum::extract::rejection::QueryRejection;
use axum::extract::{DefaultBodyLimit, FromRequestParts, Query as Parameters, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router, middleware};
use http::HeaderMap;
use process::problem::kinds;
use process::{ClusterToken, Health, Problem};
use serde::Deserialize;

use crate::access::Access;
use crate::engine::Engine;
use crate::exchange::{Body, Refusal, malformed, read, unauthenticated};
use crate::job::JobFilter;
use crate::record::PAGE_LIMIT;
use crate::{Config, Declaration, JobCommand, Query, Transaction, backup};

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
        .route("/v1/declare", post(declare))
        .route("/v1/changes", get(changes))
        .route("/v1/jobs/command", post(command))
        .route("/v1/jobs/get", post(job))
        .route("/v1/jobs/list", post(jobs))
        .route("/v1/queues", post(queues))
        .route("/v1/backup", get(backup_status).post(write_backup))
        .route("/v1/backup/base", post(store_base))
        .route("/v1/backup/drill", post(drill))
        .method_not_allowed_fallback(async || Problem::new(kinds::METHOD_NOT_ALLOWED))
        .layer(middleware::from_fn(process::coding::refuse_coded))
        .layer(middleware::from_fn_with_state(served.token.clone(), authenticate))
        .layer(middleware::from_fn_with_state(served.token.clone(), process::named_here::require))
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
        None => unauthenticated().into_response(),
    }
}

/// What the caller may do; noted by [`authenticate`].
struct Caller(Access);

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut http::request::Parts, _: &S) -> Result<Self, Problem> {
        let access = parts.extensions.get::<Access>().cloned();
        access.map(Self).ok_or_else(unauthenticated)
    }
}

type Answer<T> = Result<Json<T>, Refusal>;

async fn transact(
    State(served): State<Served>,
    Caller(access): Caller,
    fields: HeaderMap,
    body: Body,
) -> Answer<crate::Committed> {
    let transaction: Transaction = read(&fields, body)?;
    access.check(Some(&transaction.namespace), &served.token)?;
    Ok(Json(served.engine.transact(transaction).await?))
}

#[derive(Deserialize)]
struct QueryParameters {
    namespace: String,
    /// How stale the answer may be.
    #[serde(default)]
    max_stale_ms: u64,
}

async fn query(
    State(served): State<Served>,
    Caller(access): Caller,
    parameters: Result<Parameters<QueryParameters>, QueryRejection>,
    fields: HeaderMap,
    body: Body,
) -> Answer<crate::Page> {
    let Parameters(QueryParameters { namespace, max_stale_ms }) = parameters.map_err(malformed)?;
    access.check(Some(&namespace), &served.token)?;
    let query: Query = read(&fields, body)?;
    let max_stale = Duration::from_millis(max_stale_ms);
    Ok(Json(served.engine.query_within(&namespace, &query, max_stale).await?))
}

#[derive(Deserialize)]
struct DeclareParameters {
    namespace: String,
}

async fn declare(
    State(served): State<Served>,
    Caller(access): Caller,
    parameters: Result<Parameters<DeclareParameters>, QueryRejection>,
    fields: HeaderMap,
    body: Body,
) -> Answer<()> {
    let Parameters(DeclareParameters { namespace }) = parameters.map_err(malformed)?;
    access.check(Some(&namespace), &served.token)?;
    let declaration: Declaration = read(&fields, body)?;
    Ok(Json(served.engine.declare(&namespace, &declaration).await?))
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
    parameters: Result<Parameters<ChangesParameters>, QueryRejection>,
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
    parameters: Result<Parameters<WaitParameters>, QueryRejection>,
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
    Ok(Json(backup::of_engine(&served.engine, request.file).await?))
}

async fn backup_status(
    State(served): State<Served>,
    Caller(access): Caller,
) -> Answer<Option<backup::Status>> {
    access.check(None, &served.token)?;
    Ok(Json(served.engine.backup_status()))
}

async fn store_base(State(served): State<Served>, Caller(access): Caller) -> Answer<backup::BaseReport> {
    access.check(None, &served.token)?;
    Ok(Json(served.engine.store_base().await?))
}

async fn drill(State(served): State<Served>, Caller(access): Caller) -> Answer<backup::DrillReport> {
    access.check(None, &served.token)?;
    Ok(Json(served.engine.drill().await?))
}
