//! The server over HTTP: single keys for tools without a Redis client, statistics and health.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, Query, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router, middleware};
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use process::problem::kinds;
use process::{ClusterToken, Health, Problem};
use serde::Deserialize;

use crate::clock::Clock;
use crate::store::{Deadline, Lifetime, Statistics, Store, Write};

/// What the handlers share.
#[derive(Debug, Clone)]
struct Api {
    store: Arc<Store>,
    clock: Clock,
    largest_value: usize,
}

/// The query of a `PUT`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PutQuery {
    /// How long the value lives, as `60s`; stronger than `Cache-Control`.
    ttl: Option<String>,
}

/// Makes the routes; all but health take the cluster token.
pub(crate) fn router(
    store: Arc<Store>,
    clock: Clock,
    largest_value: u64,
    token: &ClusterToken,
    health: &Health,
) -> Router {
    let largest_value = usize::try_from(largest_value).unwrap_or(usize::MAX);
    let api = Api { store, clock, largest_value };
    Router::new()
        .route("/cache/{*key}", get(read).put(write).delete(remove))
        .route("/statistics", get(statistics))
        .fallback(|| async { Problem::new(kinds::NOT_FOUND) })
        .method_not_allowed_fallback(|| async { Problem::new(kinds::METHOD_NOT_ALLOWED) })
        .layer(middleware::from_fn(process::coding::refuse_coded))
        .layer(middleware::from_fn_with_state(token.clone(), process::token::require))
        .layer(middleware::from_fn_with_state(token.clone(), process::named_here::require))
        .with_state(api)
        .merge(health.routes())
        .layer(middleware::from_fn_with_state("cache", process::http::observe))
}

/// The bytes as they were put; `Cache-Control: max-age` says how long they have to live.
async fn read(State(api): State<Api>, Path(key): Path<String>) -> Response {
    let now_ms = api.clock.now_ms();
    let Some(value) = api.store.get(key.as_bytes(), now_ms) else {
        return Problem::new(kinds::NOT_FOUND).detail("the cache does not hold this key").into_response();
    };
    let mut response = Response::new(Body::from(value));
    let media_type = header::HeaderValue::from_static("application/octet-stream");
    response.headers_mut().insert(header::CONTENT_TYPE, media_type);
    if let Lifetime::Ends { in_ms } = api.store.lifetime(key.as_bytes(), now_ms)
        && let Ok(value) = format!("max-age={}", in_ms / 1000).parse()
    {
        response.headers_mut().insert(header::CACHE_CONTROL, value);
    }
    response
}

/// 201 for a new key, 204 for one that is replaced.
async fn write(
    State(api): State<Api>,
    Path(key): Path<String>,
    query: Result<Query<PutQuery>, axum::extract::rejection::QueryRejection>,
    request: Request,
) -> Result<StatusCode, Problem> {
    let malformed = |detail: String| Problem::new(kinds::MALFORMED_REQUEST).detail(detail);
    let Query(query) = query.map_err(|_| malformed("the only query parameter is `ttl`".to_owned()))?;
    let ttl = match query.ttl {
        Some(text) => {
            Some(process::duration::parse(&text).map_err(|error| malformed(format!("ttl: {error}")))?)
        }
        None => max_age(request.headers()),
    };
    if ttl.is_some_and(|ttl| ttl.is_zero()) {
        return Err(malformed("a value that ends at once is not stored".to_owned()));
    }
    let too_large = || {
        let largest = process::size::format(api.largest_value as u64);
        Problem::new(kinds::BODY_TOO_LARGE).detail(format!("a value has at most {largest}"))
    };
    let body = read_body(request, api.largest_value).await.ok_or_else(too_large)?;
    let now_ms = api.clock.now_ms();
    let millis = |ttl: Duration| u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
    let deadline = match ttl {
        None => Deadline::Never,
        Some(ttl) => Deadline::At(now_ms.saturating_add(millis(ttl))),
    };
    let written = api.store.set(key.as_bytes(), Write::new(body).deadline(deadline), now_ms);
    Ok(if written.former.is_some() { StatusCode::NO_CONTENT } else { StatusCode::CREATED })
}

/// 204 also for a key that was not there, so that repeating it is harmless.
async fn remove(State(api): State<Api>, Path(key): Path<String>) -> StatusCode {
    api.store.remove(key.as_bytes(), api.clock.now_ms());
    StatusCode::NO_CONTENT
}

async fn statistics(State(api): State<Api>) -> Json<Statistics> {
    Json(api.store.statistics())
}

/// Reads a body of at most `limit` bytes; `None` when it is larger or breaks off.
async fn read_body(request: Request, limit: usize) -> Option<Bytes> {
    axum::body::to_bytes(request.into_body(), limit).await.ok()
}

/// Finds `max-age` in `Cache-Control` (RFC 9111 §5.2.2.1); one that is no number is passed over.
fn max_age(fields: &HeaderMap) -> Option<Duration> {
    let directives = fields.get_all(header::CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
    let seconds = directives.flat_map(|value| value.split(',')).find_map(|directive| {
        let (name, value) = directive.split_once('=')?;
        name.trim().eq_ignore_ascii_case("max-age").then(|| value.trim().trim_matches('"').parse().ok())?
    })?;
    Some(Duration::from_secs(seconds))
}
