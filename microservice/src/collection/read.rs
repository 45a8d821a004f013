//! Reading one record, cache-aside.

use std::sync::LazyLock;

use axum::body::Body;
use axum::response::Response;
use cache::{Found, Source};
use database::{Query, Record};
use http::header::ETAG;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use process::problem::kinds;
use process::{Identity, Problem, metrics};
use prometheus::IntCounterVec;

use super::Collection;
use super::deleted::{Sources, find_in};
use super::list::read_of_one;
use super::representation::Prepared;
use super::shown::Shown;
use crate::condition::{Conditions, ReadAnswer, entity_tag};
use crate::fault::problem_of_read;
use crate::rules::Grant;
use crate::staleness::Staleness;

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
    /// It had not, and a replica gave what is not to be stored.
    Replica,
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
pub(super) async fn read(
    collection: &Collection,
    id: &str,
    fields: &HeaderMap,
    query: Option<&str>,
    staleness: &Staleness,
) -> Result<Response, Problem> {
    let conditions = conditions(fields)?;
    let caller = Identity::read(fields);
    let grant = collection.rules.grant_read(caller.as_ref())?;
    let asked = read_of_one(collection, query, &["fields", "deleted"])?;
    let shown = Shown::decide(collection, caller.as_ref(), asked.fields)?;
    let sources = Sources::of(collection, asked.deleted);
    let (prepared, cache_use) = match shown.needs_no_sensitive() && sources == Sources::Live {
        true => {
            let (prepared, cache_use) = find(collection, id, staleness).await?;
            if collection.rules.look_at_records() {
                let record = whole(collection, &prepared)?;
                check_sight(collection, caller.as_ref(), grant, &record)?;
            }
            match shown.is_plain() {
                true => (prepared, cache_use),
                false => (cut(collection, &shown, whole(collection, &prepared)?)?, cache_use),
            }
        }
        // The cache has no sensitive field, and no record that was deleted.
        false => {
            let finding = find_in(collection, sources, id, caller.as_ref(), grant, staleness);
            let record = Box::pin(finding).await?;
            check_readable(&record)?;
            shown.check_one(collection, &record)?;
            (cut(collection, &shown, record)?, CacheUse::Bypass)
        }
    };
    READS.with_label_values(&[&collection.namespace, &collection.name, cache_use.label()]).inc();
    let mut response = match conditions.decide_read(prepared.version()) {
        ReadAnswer::Whole => prepared.into_response(StatusCode::OK),
        ReadAnswer::NotModified => not_modified(prepared.version()),
        ReadAnswer::Failed => return Err(Problem::new(kinds::PRECONDITION_FAILED)),
    };
    response.headers_mut().insert(CACHE_STATUS, cache_use.status());
    Ok(response)
}

/// Checks that a caller reads a record at all, in the way a grant says.
pub(super) fn check_sight(
    collection: &Collection,
    caller: Option<&Identity>,
    grant: Grant,
    record: &Record,
) -> Result<(), Problem> {
    let is_own = grant == Grant::All || collection.rules.owns(caller, record);
    match is_own && collection.rules.sees(caller, record) {
        true => Ok(()),
        false => Err(Problem::new(kinds::NOT_FOUND)),
    }
}

fn whole(collection: &Collection, prepared: &Prepared) -> Result<Record, Problem> {
    prepared.to_record(&collection.name).ok_or_else(|| Problem::new(kinds::INTERNAL))
}

/// Prepares what is shown of a record.
fn cut(collection: &Collection, shown: &Shown, mut record: Record) -> Result<Prepared, Problem> {
    if let Some(field) = shown.apply(collection, &mut record).first() {
        let detail = format!("`{field}` is sealed with a key that this service has not, or was changed");
        return Err(Problem::new(kinds::CONFLICT).detail(detail));
    }
    Ok(Prepared::of(&record, shown.fields()))
}

/// Reads the conditions of a request, or says that they cannot be read.
pub(super) fn conditions(fields: &HeaderMap) -> Result<Conditions, Problem> {
    Conditions::read(fields).ok_or_else(|| {
        let detail = "If-Match and If-None-Match are `*` or a list of quoted entity tags";
        Problem::new(kinds::MALFORMED_REQUEST).detail(detail)
    })
}

/// Says that a record cannot be read as it is stored; it can be deleted.
pub(super) fn check_readable(record: &Record) -> Result<(), Problem> {
    match record.unreadable {
        false => Ok(()),
        true => Err(Problem::new(kinds::CONFLICT)
            .detail("what is stored of the record is nested too deep to be read; it can be deleted")),
    }
}

/// Opens the sensitive fields of a record that is to be changed, and names those that cannot be.
pub(super) fn open(collection: &Collection, mut record: Record) -> Result<(Record, Vec<String>), Problem> {
    check_readable(&record)?;
    let sensitive = &collection.sensitive;
    let unopened = sensitive.open(&record.id, &mut record.data, sensitive.names());
    Ok((record, unopened))
}

/// Loads one record past the cache as it is stored, be it readable or not, or says that there is none.
pub(super) async fn load(collection: &Collection, id: &str) -> Result<Record, Problem> {
    load_from(collection, &collection.name, id).await
}

/// Loads one record of a place where records of a collection lie.
pub(super) async fn load_from(collection: &Collection, place: &str, id: &str) -> Result<Record, Problem> {
    load_within(collection, place, id, &Staleness::none()).await
}

/// Loads one record as it is, or was within what is allowed.
pub(super) async fn load_within(
    collection: &Collection,
    place: &str,
    id: &str,
    staleness: &Staleness,
) -> Result<Record, Problem> {
    let query = Query::Get { collection: place.to_owned(), id: id.to_owned() };
    let page = staleness.query(collection, &query).await.map_err(|error| problem_of_read(&error))?;
    page.records.into_iter().next().ok_or_else(|| Problem::new(kinds::NOT_FOUND))
}

async fn find(
    collection: &Collection,
    id: &str,
    staleness: &Staleness,
) -> Result<(Prepared, CacheUse), Problem> {
    let ttl = collection.settings.cache_ttl;
    // Nothing sensitive is cached, nor shown to who did not name it.
    let load = async || {
        // Boxed: mostly the cache has it, and a read's future is moved whole.
        let mut record = Box::pin(load_within(collection, &collection.name, id, staleness)).await?;
        check_readable(&record)?;
        collection.sensitive.strip(&mut record.data);
        Ok::<_, Problem>(Prepared::new(&record))
    };
    if ttl.is_zero() || collection.doubt.is_there() {
        return Ok((load().await?, CacheUse::Bypass));
    }
    let prepare = async || Ok(load().await?.to_cached());
    let key = collection.cache_key(id);
    if staleness.is_allowed() {
        return Box::pin(find_beside(collection, &key, staleness, load)).await;
    }
    let (value, source) = collection.cache.read_through(&key, ttl, prepare).await?;
    match Prepared::from_cached(value) {
        Some(prepared) => Ok((prepared, source.into())),
        None => Ok((load().await?, CacheUse::Bypass)),
    }
}

/// Finds a record for a caller that allows staleness: what the cache has is never stale, what a replica has is neither
/// stored nor shared, because the cache promises others that nothing in it is older than the last change.
async fn find_beside(
    collection: &Collection,
    key: &str,
    staleness: &Staleness,
    load: impl AsyncFnOnce() -> Result<Prepared, Problem>,
) -> Result<(Prepared, CacheUse), Problem> {
    let found = collection.cache.read(key).await;
    if let Found::Hit(value) = &found
        && let Some(prepared) = Prepared::from_cached(value.clone())
    {
        return Ok((prepared, CacheUse::Hit));
    }
    let prepared = load().await?;
    let cache_use = match found {
        _ if staleness.is_used() => CacheUse::Replica,
        Found::Miss(fill) => {
            // The primary answered, after the miss: the same as any other fill.
            collection.cache.fill(fill, prepared.to_cached(), collection.settings.cache_ttl).await;
            CacheUse::Miss
        }
        Found::Unavailable => CacheUse::Unavailable,
        Found::Hit(_) => CacheUse::Bypass,
    };
    Ok((prepared, cache_use))
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
            Self::Replica => "sixfold; fwd=uri-miss; stored=?0; detail=replica",
        })
    }

    fn label(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Miss => "miss",
            Self::Collapsed => "collapsed",
            Self::Unavailable => "unavailable",
            Self::Bypass => "bypass",
            Self::Replica => "replica",
        }
    }
}
