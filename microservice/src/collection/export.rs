//! `GET` of a collection as NDJSON: every record that matches, one a line, however many there are.
//!
//! Page after page is read as the client takes it, so the memory is that of one page. An export that cannot go on
//! breaks its connection off; what ends properly is whole. It is no snapshot: a record is as it was when
//! its page was read. Who asks for a count is told it ahead, so that the lines that came can be held against it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use database::find::{Count, Total};
use database::{Find, Page, Query};
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue};
use process::{Identity, Problem};

use super::Collection;
use super::deleted::Sources;
use super::list::{count_elsewhere, malformed, read};
use super::representation::Representation;
use super::shown::Shown;
use crate::fault::problem_of_read;
use crate::staleness::Staleness;

/// The media type of records one a line.
pub(crate) const NDJSON: &str = "application/x-ndjson";

/// The field that tells how many lines there will be: `1234`, `1200; margin=40` for an estimate, or `90; at-least`
/// for a lower bound (RFC 9651).
const COUNT: HeaderName = HeaderName::from_static("sixfold-count");

/// How many records a page of an export has.
const PAGE: u32 = 200;

/// How often a page that the database does not answer is asked for again, and after which pause.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_millis(500);

/// Tells whether a request asks for an export.
pub(super) fn is_asked_for(fields: &HeaderMap) -> bool {
    let accepted = fields.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accepted.flat_map(|value| value.split(',')).any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let is_named = parts.next().is_some_and(|media_type| media_type.eq_ignore_ascii_case(NDJSON));
        is_named && !parts.any(is_refusal)
    })
}

/// Tells whether a parameter says that what it stands behind is not acceptable: a weight of 0 (RFC 9110 §12.4.2).
fn is_refusal(parameter: &str) -> bool {
    let zero = parameter.strip_prefix("q=").or_else(|| parameter.strip_prefix("Q="));
    zero.is_some_and(|weight| {
        weight.starts_with('0') && weight.bytes().all(|byte| matches!(byte, b'0' | b'.'))
    })
}

/// Answers GET of the collection with all that matches.
pub(super) async fn export(
    collection: &Arc<Collection>,
    fields: &HeaderMap,
    query: Option<&str>,
    staleness: Staleness,
) -> Result<Response, Problem> {
    let caller = Identity::read(fields);
    let grant = collection.rules.grant_list(caller.as_ref())?;
    let asked = read(collection, query.unwrap_or_default())?;
    if asked.cursor.is_some() {
        return Err(malformed("`cursor` is of pages; an export has all of them"));
    }
    if asked.limit.is_some() {
        return Err(malformed("`limit` is of pages; an export has all that matches"));
    }
    let sources = Sources::of(collection, asked.deleted);
    let grant = sources.grant(collection, caller.as_ref(), grant)?;
    let mut places = VecDeque::from(sources.places(collection));
    let shown = Shown::decide(collection, caller.as_ref(), asked.fields)?;
    let find = Find {
        filter: collection.rules.narrow(caller.as_ref(), grant, asked.filter)?,
        order: asked.order,
        fields: shown.needed(collection),
        count: asked.count,
        lower_bound: collection.rules.hide_some(caller.as_ref(), grant),
        ..Find::all(places.pop_front().unwrap_or_default(), PAGE)
    };
    let mut export =
        Export { collection: Arc::clone(collection), find, places, shown, staleness, is_over: false };
    // The first page is read before the head is sent, so that what is wrong with the question is a problem.
    let mut page = export.read_page().await?;
    if let Some(total) = &mut page.total {
        count_elsewhere(collection, &export.find, total, export.places.iter(), &export.staleness).await?;
    }
    let total = page.total;
    export.find.count = Count::None;
    let first = export.lines(page)?;
    let mut response = Response::new(Body::empty());
    export.staleness.tell(&mut response);
    let rest = futures_util::stream::unfold(export, |mut export| async move {
        let page = export.next().await?;
        Some((page, export))
    });
    let pages = futures_util::StreamExt::chain(futures_util::stream::iter([Ok(first)]), rest);
    *response.body_mut() = Body::from_stream(pages);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(NDJSON));
    if let Some(told) = total.and_then(tell) {
        response.headers_mut().insert(COUNT, told);
    }
    Ok(response)
}

fn tell(total: Total) -> Option<HeaderValue> {
    let how = match total.margin {
        Some(margin) => format!("; margin={margin}"),
        None if total.is_exact => String::new(),
        None => "; at-least".to_owned(),
    };
    HeaderValue::try_from(format!("{}{how}", total.counted)).ok()
}

/// An export could not go on; what its client sees is a connection that ends early.
#[derive(Debug, thiserror::Error)]
#[error("the export was broken off")]
struct Broken;

/// An export on its way.
struct Export {
    collection: Arc<Collection>,
    find: Find,
    /// Where it goes on after this place.
    places: VecDeque<String>,
    shown: Shown,
    /// What the client allows for each page; the head tells the age of the first.
    staleness: Staleness,
    is_over: bool,
}

impl Export {
    /// Gives the lines of the next page; `None` after the last.
    async fn next(&mut self) -> Option<Result<Bytes, Broken>> {
        if self.is_over {
            return None;
        }
        let mut tries = 1;
        loop {
            match self.next_page().await {
                Err(problem) if tries == TRIES => {
                    tracing::warn!(kind = problem.kind().name, "an export was broken off");
                    self.is_over = true;
                    return Some(Err(Broken));
                }
                Err(_) => {
                    tries += 1;
                    tokio::time::sleep(PAUSE).await;
                }
                Ok(lines) => return Some(Ok(lines)),
            }
        }
    }

    async fn next_page(&mut self) -> Result<Bytes, Problem> {
        let page = self.read_page().await?;
        self.lines(page)
    }

    async fn read_page(&self) -> Result<Page, Problem> {
        let query = Query::Find(self.find.clone());
        let page = self.staleness.query(&self.collection, &query).await;
        page.map_err(|error| problem_of_read(&error))
    }

    /// Writes the lines of a page, and goes on to the next.
    fn lines(&mut self, mut page: Page) -> Result<Bytes, Problem> {
        let mut lines = Vec::new();
        // What cannot be read was logged by its name.
        for record in page.records.iter_mut().filter(|record| !record.unreadable) {
            self.shown.apply(&self.collection, record);
            // Strings, numbers and times in memory have no way to fail.
            let _ = serde_json::to_writer(&mut lines, &Representation::of(record, self.shown.fields()));
            lines.push(b'\n');
        }
        self.find.after = page.position;
        if self.find.after.is_none() {
            match self.places.pop_front() {
                Some(place) => self.find.collection = place,
                None => self.is_over = true,
            }
        }
        Ok(Bytes::from(lines))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_export_is_for_whom_accepts_one() {
        let asks = |accepts: &[&'static str]| {
            let mut fields = HeaderMap::new();
            for accept in accepts {
                fields.append(ACCEPT, HeaderValue::from_static(accept));
            }
            is_asked_for(&fields)
        };
        for accept in [
            "application/x-ndjson",
            "Application/X-NDJSON",
            "text/html, application/x-ndjson;q=0.5",
            "application/x-ndjson; charset=utf-8; q=0.001",
            "application/x-ndjson;q=0, application/x-ndjson",
        ] {
            assert!(asks(&[accept]), "{accept}");
        }
        assert!(
            asks(&["application/json", "application/x-ndjson"]),
            "the field is a list, on however many lines"
        );
        for accept in [
            "*/*",
            "application/json",
            "application/x-ndjson;q=0",
            "application/x-ndjson ; Q=0.000",
            "application/x-ndjson-seq",
        ] {
            assert!(!asks(&[accept]), "{accept}");
        }
        assert!(!asks(&[]));
    }
}
