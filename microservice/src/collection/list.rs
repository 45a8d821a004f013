//! Listing a collection: filtered, ordered, page by page.

use axum::body::Body;
use axum::response::Response;
use database::find::{Filter, Order, Position, Total};
use database::{Error, Find, Page, Query};
use http::header::{CONTENT_TYPE, LINK};
use http::{HeaderMap, HeaderValue};
use process::problem::kinds;
use process::{Identity, Problem};
use serde::Serialize;

use super::Collection;
use super::deleted::Sources;
use super::representation::Representation;
use super::shown::Shown;
use crate::body::JSON;
use crate::cursor::{self, Question};
use crate::fault::problem_of_read;
use crate::query::{Asked, AskedOfOne, DEFAULT_LIMIT, Reader};
use crate::staleness::Staleness;

/// The body of a listing.
#[derive(Serialize)]
struct Listing<'a> {
    items: Vec<Representation<'a>>,
    next: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<Counted>,
}

/// How many records match, when that was asked.
#[derive(Serialize)]
struct Counted {
    /// How many were counted, or are estimated.
    value: u64,
    /// Whether they were counted to the end.
    exact: bool,
    /// How far off an estimate is at most, in 19 answers of 20; without it, what is not exact is a lower bound.
    #[serde(skip_serializing_if = "Option::is_none")]
    margin: Option<u64>,
}

/// Answers GET and HEAD of the collection.
pub(super) async fn list(
    collection: &Collection,
    fields: &HeaderMap,
    query: Option<&str>,
    staleness: &Staleness,
) -> Result<Response, Problem> {
    let caller = Identity::read(fields);
    let grant = collection.rules.grant_list(caller.as_ref())?;
    let query = query.unwrap_or_default();
    let asked = read(collection, query)?;
    let Asked { filter, order, limit, cursor, fields, count, deleted } = asked;
    let sources = Sources::of(collection, deleted);
    let grant = sources.grant(collection, caller.as_ref(), grant)?;
    let shown = Shown::decide(collection, caller.as_ref(), fields)?;
    // A cursor is bound to what the caller may see, too.
    let filter = collection.rules.narrow(caller.as_ref(), grant, filter)?;
    let walk = Walk { collection, sources, filter: filter.as_ref(), order: &order };
    let key = collection.keys.key().await.map_err(|error| problem_of_read(&error))?;
    let (place, after) = match &cursor {
        Some(cursor) => {
            let place = walk.read(key, cursor);
            place.ok_or_else(|| cursor::refuse(cursor))?
        }
        None => (0, None),
    };
    let places = sources.places(collection);
    let find = Find {
        collection: places[place].clone(),
        filter: filter.clone(),
        order: order.clone(),
        after,
        limit: limit.unwrap_or_else(|| DEFAULT_LIMIT.min(collection.settings.page_limit)),
        fields: shown.needed(collection),
        count,
        lower_bound: collection.rules.hide_some(caller.as_ref(), grant),
    };
    let page = staleness.query(collection, &Query::Find(find.clone())).await;
    let mut page = page.map_err(|error| match error {
        // What was asked is within every bound, so it is the cursor's index that is gone.
        Error::Invalid { .. } if cursor.is_some() => cursor::refuse(cursor.as_deref().unwrap_or_default()),
        error => problem_of_read(&error),
    })?;
    if let Some(total) = &mut page.total {
        let others = places.iter().enumerate().filter(|(other, _)| *other != place).map(|(_, name)| name);
        count_elsewhere(collection, &find, total, others, staleness).await?;
    }
    let next = match &page.position {
        Some(position) => Some(walk.write(key, place, position)?),
        None if place + 1 < places.len() => Some(walk.write(key, place + 1, &walk.beginning())?),
        None => None,
    };
    // What cannot be read was logged by its name, and keeps nobody from the others.
    page.records.retain(|record| !record.unreadable);
    for record in &mut page.records {
        shown.apply(collection, record);
    }
    let items = page.records.iter().map(|record| Representation::of(record, shown.fields())).collect();
    write(&collection.path, query, items, next.as_deref(), &page)
}

/// Adds to a count how many records match in other places.
pub(super) async fn count_elsewhere(
    collection: &Collection,
    find: &Find,
    total: &mut Total,
    others: impl Iterator<Item = &String>,
    staleness: &Staleness,
) -> Result<(), Problem> {
    for other in others {
        let find = Find { collection: other.clone(), after: None, limit: 1, ..find.clone() };
        let page = staleness.query(collection, &Query::Find(find)).await;
        if let Some(more) = page.map_err(|error| problem_of_read(&error))?.total {
            total.add(more);
        }
    }
    Ok(())
}

/// A walk through the places of records, one after the other, as cursors tell it.
struct Walk<'a> {
    collection: &'a Collection,
    sources: Sources,
    filter: Option<&'a Filter>,
    order: &'a [Order],
}

impl Walk<'_> {
    /// Gives the position before the first record of a place.
    fn beginning(&self) -> Position {
        Position { index: String::new(), values: Vec::new() }
    }

    /// Writes the cursor of a position in one of the places.
    fn write(&self, key: &cursor::Key, place: usize, position: &Position) -> Result<String, Problem> {
        let path = self.path(place);
        cursor::encode(key, Question { path: &path, filter: self.filter, order: self.order }, position)
    }

    /// Reads a cursor: which of the places, and where in it.
    fn read(&self, key: &cursor::Key, cursor: &str) -> Option<(usize, Option<Position>)> {
        (0..self.sources.places(self.collection).len()).find_map(|place| {
            let path = self.path(place);
            let question = Question { path: &path, filter: self.filter, order: self.order };
            let position = cursor::decode(key, question, cursor)?;
            Some((place, Some(position).filter(|position| *position != self.beginning())))
        })
    }

    /// Tells one place of one walk from all others.
    fn path(&self, place: usize) -> String {
        match self.sources {
            Sources::Live => self.collection.path.clone(),
            sources => format!("{}?{sources:?}{place}", self.collection.path),
        }
    }
}

/// Reads a query as this collection's.
pub(super) fn read(collection: &Collection, query: &str) -> Result<Asked, Problem> {
    let kind_of = |field: &_| collection.schema.kind_of(field);
    let reader = Reader {
        kind_of: &kind_of,
        page_limit: collection.settings.page_limit,
        soft_delete: collection.settings.soft_delete,
    };
    let asked = reader.read(query).map_err(malformed)?;
    let conditions = asked.filter.iter().flat_map(Filter::fields);
    let mut about = conditions.chain(asked.order.iter().map(|order| &order.field));
    match about.find(|field| collection.sensitive.holds(field)) {
        Some(field) => {
            let detail = format!("`{field}` is sensitive: nothing can ask about it");
            Err(Problem::new(kinds::NOT_INDEXED).detail(detail))
        }
        None => Ok(asked),
    }
}

fn write(
    path: &str,
    query: &str,
    items: Vec<Representation<'_>>,
    next: Option<&str>,
    page: &Page,
) -> Result<Response, Problem> {
    let count =
        page.total.map(|total| Counted { value: total.counted, exact: total.is_exact, margin: total.margin });
    let body =
        serde_json::to_vec(&Listing { items, next, count }).map_err(|_| Problem::new(kinds::INTERNAL))?;
    let mut response = Response::new(Body::from(body));
    let fields = response.headers_mut();
    fields.insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
    if let Some(next) = next
        && let Ok(link) =
            HeaderValue::try_from(format!("<{path}?{}>; rel=\"next\"", with_cursor(query, next)))
    {
        fields.insert(LINK, link);
    }
    Ok(response)
}

/// Puts a cursor into a query in the place of the one that was there. What a client sent is kept as it was
/// sent: it came within a URL, so it fits into one. Only the sign that ends a URL in `Link` is escaped.
fn with_cursor(query: &str, cursor: &str) -> String {
    let kept = query.split('&').filter(|pair| !pair.is_empty() && !pair.starts_with("cursor="));
    let mut pairs: Vec<String> = kept.map(|pair| pair.replace('>', "%3E")).collect();
    pairs.push(format!("cursor={cursor}"));
    pairs.join("&")
}

/// Reads a query about one record, which may have these parameters; `deleted` is one where deletions are soft.
pub(super) fn read_of_one(
    collection: &Collection,
    query: Option<&str>,
    taken: &[&str],
) -> Result<AskedOfOne, Problem> {
    let is_taken = |name: &&str| *name != "deleted" || collection.settings.soft_delete;
    let taken: Vec<&str> = taken.iter().copied().filter(is_taken).collect();
    AskedOfOne::read(query.unwrap_or_default(), &taken).map_err(malformed)
}

pub(super) fn malformed(detail: impl Into<String>) -> Problem {
    Problem::new(kinds::MALFORMED_REQUEST).detail(detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_is_asked_for_like_this_one() {
        assert_eq!(with_cursor("", "c"), "cursor=c");
        assert_eq!(with_cursor("limit=2&cursor=b&a=eq.%C3%A4", "c"), "limit=2&a=eq.%C3%A4&cursor=c");
        assert_eq!(with_cursor("a=eq.<>", "c"), "a=eq.<%3E&cursor=c");
    }
}
