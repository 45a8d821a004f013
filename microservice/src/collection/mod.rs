//! A collection over REST: `/SERVICE/COLLECTION` and `/SERVICE/COLLECTION/ID`.
//!
//! The two resources choose by method here; [`read`], [`list`] and [`mod@write`] answer. A change is put together in
//! [`prepare`] and made in [`commit`]; [`batch`] makes several. What every answer
//! about one record looks like is in [`representation`].

pub(crate) mod batch;
mod commit;
mod deleted;
mod export;
mod feed;
mod history;
mod import;
pub(crate) mod in_flight;
mod lines;
mod list;
mod name;
mod once;
mod patch;
pub(crate) mod places;
mod prepare;
mod read;
mod representation;
mod reserved;
mod sent_back;
mod shown;
mod write;

use std::sync::Arc;

use axum::Router;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use cache::Cache;
use database::Database;
use database::find::Field;
use http::header::{ALLOW, HeaderName};
use http::{HeaderValue, Method, StatusCode};
use process::Problem;
use process::problem::kinds;

pub(crate) use self::export::NDJSON;
pub(crate) use self::name::is_record_name;
use self::name::{CHANGES, read_name};
#[cfg(test)]
pub(crate) use self::once::key_of;
use crate::body;
use crate::config;
use crate::cursor::Keys;
use crate::doubt::Doubt;
use crate::follower::OwnWrites;
use crate::query::AskedOfOne;
use crate::rules::Rules;
use crate::schema::Schema;
use crate::sensitive::Sensitive;
use crate::staleness::Staleness;

/// The methods of the whole collection.
const COLLECTION_METHODS: &str = "GET, HEAD, POST, OPTIONS";

/// The methods of one record.
const RECORD_METHODS: &str = "GET, HEAD, PUT, PATCH, DELETE, OPTIONS";

/// The patches that are taken.
const PATCHES: &str = "application/merge-patch+json, application/json-patch+json";

/// The field that says which patches are taken (RFC 5789 §3.1).
const ACCEPT_PATCH: HeaderName = HeaderName::from_static("accept-patch");

/// One collection with what it needs to answer.
#[derive(Debug)]
pub(crate) struct Collection {
    /// The service's name, which is the namespace of its records.
    pub(crate) namespace: String,
    /// The collection's name.
    pub(crate) name: String,
    /// Where it is served.
    pub(crate) path: String,
    /// What it declares.
    pub(crate) settings: config::Collection,
    /// What its records follow.
    pub(crate) schema: Schema,
    /// The fields whose texts an index has.
    pub(crate) indexed_texts: Vec<Field>,
    /// The fields that indexes have.
    pub(crate) indexed: Vec<Field>,
    /// Its sensitive fields.
    pub(crate) sensitive: Sensitive,
    /// Who may do what with them.
    pub(crate) rules: Rules,
    /// Where its records lie.
    pub(crate) database: Database,
    /// Who follows its changes.
    pub(crate) feeds: Arc<places::Feeds>,
    /// What signs its cursors.
    pub(crate) keys: Arc<Keys>,
    /// Which idempotency keys are under way.
    pub(crate) in_flight: Arc<in_flight::InFlight>,
    /// What reads go through.
    pub(crate) cache: Cache,
    /// The writes of this instance, which it invalidated itself.
    pub(crate) own_writes: Arc<OwnWrites>,
    /// Whether the cache is not to be believed.
    pub(crate) doubt: Arc<Doubt>,
}

impl Collection {
    /// Names a record of this collection in the shared cache.
    fn cache_key(&self, id: &str) -> String {
        cache::record_key(&self.namespace, &self.name, id)
    }
}

/// Makes the routes of a collection.
pub(crate) fn routes(collection: Arc<Collection>) -> Router {
    let path = collection.path.clone();
    Router::new()
        .route(&format!("{path}/{CHANGES}"), any(serve_changes))
        .route(&format!("{path}/{{id}}"), any(serve_record))
        .route(&format!("{path}/{{id}}/history"), any(serve_history))
        .route(&format!("{path}/{{id}}/restore"), any(serve_restore))
        .route(&path, any(serve_collection))
        .with_state(collection)
}

async fn serve_collection(State(collection): State<Arc<Collection>>, request: Request) -> Response {
    let staleness = Staleness::read(request.headers());
    let answer = match request.method() {
        &Method::GET if export::is_asked_for(request.headers()) => {
            return Box::pin(export::export(
                &collection,
                request.headers(),
                request.uri().query(),
                staleness,
            ))
            .await
            .unwrap_or_else(IntoResponse::into_response);
        }
        &Method::GET | &Method::HEAD => {
            list::list(&collection, request.headers(), request.uri().query(), &staleness).await
        }
        &Method::POST => match no_parameters(&request) {
            Err(problem) => Err(problem),
            Ok(()) if body::media_type(request.headers(), &[NDJSON]).is_ok() => {
                Box::pin(import::import(&collection, request)).await
            }
            Ok(()) => write::create(&collection, request).await,
        },
        &Method::OPTIONS => return options(COLLECTION_METHODS),
        _ => return method_not_allowed(COLLECTION_METHODS),
    };
    let mut response = answer.unwrap_or_else(IntoResponse::into_response);
    staleness.tell(&mut response);
    response
}

async fn serve_changes(State(collection): State<Arc<Collection>>, request: Request) -> Response {
    let answer = match *request.method() {
        Method::GET => feed::follow(&collection, request).await,
        Method::OPTIONS => return options("GET, OPTIONS"),
        _ => return method_not_allowed("GET, OPTIONS"),
    };
    answer.unwrap_or_else(IntoResponse::into_response)
}

async fn serve_record(
    State(collection): State<Arc<Collection>>,
    id: Result<Path<String>, PathRejection>,
    request: Request,
) -> Response {
    let id = match read_name(id, request.method()) {
        Ok(id) => id,
        Err(problem) => return problem.into_response(),
    };
    let is_patch = request.method() == Method::PATCH;
    let staleness = Staleness::read(request.headers());
    let answer = match request.method() {
        &Method::GET | &Method::HEAD => {
            read::read(&collection, &id, request.headers(), request.uri().query(), &staleness).await
        }
        // Changes are boxed: a read's future is not to be as large as theirs.
        &Method::PUT | &Method::PATCH => match no_parameters(&request) {
            Err(problem) => Err(problem),
            Ok(()) if is_patch => Box::pin(write::patch(&collection, &id, request)).await,
            Ok(()) => Box::pin(write::replace(&collection, &id, request)).await,
        },
        &Method::DELETE => match deleted::is_purge(&collection, request.uri().query()) {
            Ok(true) => Box::pin(deleted::purge(&collection, &id, request)).await,
            Ok(false) => Box::pin(write::delete(&collection, &id, request)).await,
            Err(problem) => Err(problem),
        },
        &Method::OPTIONS => return options(RECORD_METHODS),
        _ => return method_not_allowed(RECORD_METHODS),
    };
    let mut response = answer.unwrap_or_else(IntoResponse::into_response);
    staleness.tell(&mut response);
    if is_patch && response.status() == StatusCode::UNSUPPORTED_MEDIA_TYPE {
        response.headers_mut().insert(ACCEPT_PATCH, HeaderValue::from_static(PATCHES));
    }
    response
}

async fn serve_history(
    State(collection): State<Arc<Collection>>,
    id: Result<Path<String>, PathRejection>,
    request: Request,
) -> Response {
    let id = match read_name(id, request.method()) {
        Ok(id) => id,
        Err(problem) => return problem.into_response(),
    };
    let staleness = Staleness::read(request.headers());
    let answer = match *request.method() {
        Method::GET | Method::HEAD => {
            history::read(&collection, &id, request.headers(), request.uri().query(), &staleness).await
        }
        Method::OPTIONS => return options("GET, HEAD, OPTIONS"),
        _ => return method_not_allowed("GET, HEAD, OPTIONS"),
    };
    let mut response = answer.unwrap_or_else(IntoResponse::into_response);
    staleness.tell(&mut response);
    response
}

async fn serve_restore(
    State(collection): State<Arc<Collection>>,
    id: Result<Path<String>, PathRejection>,
    request: Request,
) -> Response {
    let id = match read_name(id, request.method()) {
        Ok(id) if collection.settings.soft_delete => id,
        _ => return Problem::new(kinds::NOT_FOUND).into_response(),
    };
    let answer = match *request.method() {
        Method::POST => match no_parameters(&request) {
            Ok(()) => deleted::restore(&collection, &id, request).await,
            Err(problem) => Err(problem),
        },
        Method::OPTIONS => return options("POST, OPTIONS"),
        _ => return method_not_allowed("POST, OPTIONS"),
    };
    answer.unwrap_or_else(IntoResponse::into_response)
}

/// Refuses a query where nothing is asked: a parameter that is passed over is one that somebody relies on.
fn no_parameters(request: &Request) -> Result<(), Problem> {
    AskedOfOne::read(request.uri().query().unwrap_or_default(), &[]).map(drop).map_err(list::malformed)
}

fn options(methods: &'static str) -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(methods));
    if methods.contains("PATCH") {
        response.headers_mut().insert(ACCEPT_PATCH, HeaderValue::from_static(PATCHES));
    }
    response
}

fn method_not_allowed(methods: &'static str) -> Response {
    let mut response = Problem::new(kinds::METHOD_NOT_ALLOWED).into_response();
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(methods));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size_of_two<A, B, F: Future>(_: fn(A, B) -> F) -> usize {
        size_of::<F>()
    }

    fn size_of_three<A, B, C, F: Future>(_: fn(A, B, C) -> F) -> usize {
        size_of::<F>()
    }

    /// The router boxes them, and copies what they have room for: with all a request may come to do it was 46 KiB.
    #[test]
    fn the_future_of_a_request_is_no_larger_than_a_read_needs() {
        let (record, collection) = (size_of_three(serve_record), size_of_two(serve_collection));
        assert!(record < 3 << 10, "{record}");
        assert!(collection < 6 << 10, "{collection}");
    }
}
