//! Reading one record, cache-aside.

use std::sync::LazyLock;

use axum::body::Body;
use axum::response::Response;
use cache::Source;
use database::{Query, Record};
use http::header::ETAG;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use process::problem::kinds;
use process::{Identity, Problem, metrics};
use prometheus::IntCounterVec;

use super::Collection;
use super::representation::Prepared;
use crate::condition::{Conditions, ReadAnswer, entity_tag};
use crate::fault::problem_of_read;
use crate::rules::Grant;

/// The field that says how the cache was used (RFC 9211).
const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// Reads of one record, by what the cache did.
static READS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    metrics::counter(
        "sixfold_record_reads_total",
        "Reads of one record.",
        &["service", "collection", "cache"],
    )
});

/// What the cache did for a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CacheUse {
    /// It had the record.
    Hit,
    /// It had not; the record was loaded and offered to it.
    Miss,
    /// It had not, and another read of this instance was loading the record already.
    Collapsed,
    /// It was not reached.
    Unavailable,
    /// The collection does not use it.
    Bypass,
}

impl From<Source> for CacheUse {
    fn from(source: Source) -> Self {
        match source {
            Source::Hit => Self::Hit,
            Source::Miss => Self::Miss,
            Source::Coalesced => Self::Collapsed,
            Source::Bypass => Self::Unavailable,
        }
    }
}

/// Answers GET and HEAD of one record.
pub(super) async fn read(collection: &Collection, id: &str, fields: &HeaderMap) -> Result<Response, Problem> {
    let conditions = conditions(fields)?;
    let caller = Identity::read(fields);
    let grant = collection.rules.grant_read(caller.as_ref())?;
    let (prepared, cache_use) = find(collection, id).await?;
    if collection.rules.look_at_records() {
        let record = prepared.to_record(&collection.name).ok_or_else(|| Problem::new(kinds::INTERNAL))?;
        let is_own = grant == Grant::All || collection.rules.owns(caller.as_ref(), &record);
        if !is_own || !collection.rules.sees(caller.as_ref(), &record) {
            return Err(Problem::new(kinds::NOT_FOUND));
        }
    }
    READS.with_label_values(&[&collection.namespace, &collection.name, cache_use.label()]).inc();
    let mut response = match conditions.decide_read(prepared.version()) {
        ReadAnswer::Whole => prepared.into_response(StatusCode::OK),
        ReadAnswer::NotModified => not_modified(prepared.version()),
        ReadAnswer::Failed => return Err(Problem::new(kinds::PRECONDITION_FAILED)),
    };
    response.headers_mut().insert(CACHE_STATUS, cache_use.status());
    Ok(response)
}

/// Reads the conditions of a request, or says that they cannot be read.
pub(super) fn conditions(fields: &HeaderMap) -> Result<Conditions, Problem> {
    Conditions::read(fields).ok_or_else(|| {
        let detail = "If-Match and If-None-Match are `*` or a list of quoted entity tags";
        Problem::new(kinds::MALFORMED_REQUEST).detail(detail)
    })
}

/// Loads one record past the cache, or says that there is none.
pub(super) async fn load(collection: &Collection, id: &str) -> Result<Record, Problem> {
    let query = Query::Get { collection: collection.name.clone(), id: id.to_owned() };
    let page = collection
        .database
        .query(&collection.namespace, &query)
        .await
        .map_err(|error| problem_of_read(&error))?;
    page.records.into_iter().next().ok_or_else(|| Problem::new(kinds::NOT_FOUND))
}

async fn find(collection: &Collection, id: &str) -> Result<(Prepared, CacheUse), Problem> {
    let ttl = collection.settings.cache_ttl;
    let prepare = async || Ok(Prepared::new(&load(collection, id).await?).to_cached());
    if ttl.is_zero() {
        return Ok((Prepared::new(&load(collection, id).await?), CacheUse::Bypass));
    }
    let key = collection.cache_key(id);
    let (value, source) = collection.cache.read_through(&key, ttl, prepare).await?;
    match Prepared::from_cached(value) {
        Some(prepared) => Ok((prepared, source.into())),
        None => Ok((Prepared::new(&load(collection, id).await?), CacheUse::Bypass)),
    }
}

fn not_modified(version: u64) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    response.headers_mut().insert(ETAG, entity_tag(version));
    response
}

impl CacheUse {
    /// Writes it as RFC 9211 says. `stored` is left out: the cache does not take what was just invalidated,
    /// and does not tell.
    fn status(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Hit => "sixfold; hit",
            Self::Miss => "sixfold; fwd=uri-miss",
            Self::Collapsed => "sixfold; fwd=uri-miss; collapsed",
            Self::Unavailable => "sixfold; fwd=bypass; detail=unavailable",
            Self::Bypass => "sixfold; fwd=bypass",
        })
    }

    fn label(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Miss => "miss",
            Self::Collapsed => "collapsed",
            Self::Unavailable => "unavailable",
            Self::Bypass => "bypass",
        }
    }
}
