//! `GET /SERVICE/COLLECTION/ID/history`: the earlier versions of a record, the latest first.
//!
//! Who reads the record reads them, each as if it were the record: one that the caller would not have seen is left
//! out, and sensitive fields are as in listings.

use axum::body::Body;
use axum::response::Response;
use database::find::Position;
use database::{Earlier, Query};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue};
use jiff::Timestamp;
use process::problem::kinds;
use process::{Identity, Problem};
use serde::Serialize;
use serde_json::Value;

use super::Collection;
use super::deleted::{Sources, find_in};
use super::list::read_of_one;
use super::read::check_sight;
use super::representation::Representation;
use super::shown::Shown;
use crate::body::JSON;
use crate::cursor::{self, Question};
use crate::fault::problem_of_read;
use crate::staleness::Staleness;

/// How many versions a page has unless the client says otherwise.
const DEFAULT_LIMIT: u32 = 20;

/// What cursors call the walk along versions.
const WALK: &str = "history";

/// The body.
#[derive(Serialize)]
struct History<'a> {
    items: Vec<Version<'a>>,
    next: Option<String>,
}

/// One earlier version.
#[derive(Serialize)]
struct Version<'a> {
    version: u64,
    /// Until when the record was so.
    until: Timestamp,
    record: Representation<'a>,
}

impl<'a> Version<'a> {
    fn of(Earlier { record, until }: &'a Earlier, shown: &Shown) -> Self {
        let representation = Representation::of_earlier(record, shown.fields());
        Self { version: record.version, until: *until, record: representation }
    }
}

/// Answers GET and HEAD of a record's history.
pub(super) async fn read(
    collection: &Collection,
    id: &str,
    fields: &HeaderMap,
    query: Option<&str>,
    staleness: &Staleness,
) -> Result<Response, Problem> {
    if collection.settings.history == 0 {
        return Err(Problem::new(kinds::NOT_FOUND));
    }
    let caller = Identity::read(fields);
    let asked = read_of_one(collection, query, &["fields", "deleted", "limit", "cursor"])?;
    let sources = Sources::of(collection, asked.deleted);
    let grant = collection.rules.grant_read(caller.as_ref())?;
    let grant = sources.grant(collection, caller.as_ref(), grant)?;
    let shown = Shown::decide(collection, caller.as_ref(), asked.fields)?;
    let record = find_in(collection, sources, id, caller.as_ref(), grant, staleness).await?;

    let path = format!("{}/{id}/history", record.collection);
    let question = Question { path: &path, filter: None, order: &[] };
    let key = collection.keys.key().await.map_err(|error| problem_of_read(&error))?;
    let before = match &asked.cursor {
        None => None,
        Some(cursor) => {
            let place = cursor::decode(key, question, cursor);
            let version = place.and_then(|place| place.values.first()?.as_u64());
            Some(version.ok_or_else(|| cursor::refuse(cursor))?)
        }
    };
    let limit = asked.limit.unwrap_or(DEFAULT_LIMIT).min(collection.settings.page_limit);
    let query = Query::History { collection: record.collection.clone(), id: id.to_owned(), before, limit };
    let mut page = staleness.query(collection, &query).await.map_err(|error| problem_of_read(&error))?;

    let last = page.earlier.last().filter(|_| page.has_earlier);
    let next = last.map(|last| {
        let values = vec![Value::from(last.record.version)];
        cursor::encode(key, question, &Position { index: WALK.to_owned(), values })
    });
    let next = next.transpose()?;
    page.earlier.retain(|earlier| !earlier.record.unreadable);
    page.earlier.retain(|earlier| check_sight(collection, caller.as_ref(), grant, &earlier.record).is_ok());
    for earlier in &mut page.earlier {
        shown.apply(collection, &mut earlier.record);
    }
    let version = |earlier| Version::of(earlier, &shown);
    let items = page.earlier.iter().map(version).collect();
    let body = serde_json::to_vec(&History { items, next }).map_err(|_| Problem::new(kinds::INTERNAL))?;
    let mut response = Response::new(Body::from(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
    Ok(response)
}
