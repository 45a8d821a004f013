//! `GET /SERVICE/COLLECTION/changes`: the changes of a collection as server-sent events.
//!
//! Each follower has a loop of its own, which looks into the change log only when the client has taken what came
//! before. So one that stalls holds one batch and nobody up, and goes on where it was: in the log, by
//! `Last-Event-ID`. An event's id is the sequence of its change. Where the log does not go back that far, one event
//! `reset` says to list again, and has the id from which the changes then go on.
//!
//! A stream is no longer than the token it was asked for with: who follows then comes again with another, and goes on.
//!
//! An event carries the record as it is now, which may be later than its change. With a filter, and for callers
//! who do not see every record, only changes of records that match now are told. Of deletions the log keeps no more than
//! the record's name, so whoever sees every record is told all of them, and others only those that were soft, as long as
//! the deleted record is there to tell whether they saw it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use bytes::Bytes;
use database::change::ChangeKind;
use database::find::{Field, Filter};
use database::{Change, Error, Query, Record};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderName, HeaderValue};
use process::problem::kinds;
use process::{Identity, Problem, identity};
use serde::Serialize;
use tokio::sync::watch;
use tokio::time::Instant;

use super::Collection;
use super::list::{malformed, read};
use super::places::Place;
use super::representation::Representation;
use super::shown::Shown;
use crate::declare::deleted;
use crate::fault::problem_of_read;
use crate::query::Deleted;

/// The field with which a client that was interrupted says what it saw last.
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// How many changes are looked at together; with their records they are what a follower holds in memory.
const BATCH: u32 = 32;

/// How often something is sent when nothing happens, so that nobody in between thinks the connection dead.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// The pause when the database does not answer, or answers early that there is nothing.
const PAUSE: Duration = Duration::from_millis(500);

/// The end of a stream whose token has one that no clock can hold: a year.
const LONGEST: Duration = Duration::from_secs(365 * 86_400);

/// What is told of one change.
#[derive(Serialize)]
struct Event<'a> {
    id: &'a str,
    version: u64,
    at: jiff::Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    record: Option<Representation<'a>>,
}

/// Answers GET of the changes.
pub(super) async fn follow(collection: &Arc<Collection>, request: Request) -> Result<Response, Problem> {
    let caller = Identity::read(request.headers());
    let grant = collection.rules.grant_list(caller.as_ref())?;
    let query = request.uri().query().unwrap_or_default();
    let (after, query) = take_after(query)?;
    let asked = read(collection, &query)?;
    if asked.deleted != Deleted::No {
        return Err(malformed("`deleted` is of listings; changes tell of deletions by themselves"));
    }
    if !asked.order.is_empty() || asked.cursor.is_some() || asked.limit.is_some() {
        let detail = "`order`, `limit` and `cursor` are of listings; changes come as they happen";
        return Err(malformed(detail));
    }
    let seen = request.headers().get(LAST_EVENT_ID).map(|value| {
        let number = value.to_str().ok().and_then(|text| sequence(text.trim()));
        number.ok_or_else(|| malformed("Last-Event-ID is the id of an event"))
    });
    let asked_from = match (seen, after) {
        (Some(seen), _) => Some(seen?),
        (None, after) => after,
    };
    if let Some(field) =
        asked.filter.iter().flat_map(Filter::fields).find(|field| !is_known(collection, field))
    {
        let detail = format!("`{field}`: neither the schema nor an index has such a field");
        return Err(Problem::new(kinds::NOT_INDEXED).detail(detail));
    }
    let place = collection.feeds.take(caller.as_ref())?;
    let latest = latest(collection).await?;
    let mut ready = VecDeque::from([Bytes::from_static(b"retry: 1000\n\n")]);
    // What was never given out is of another database, or made up: there is nothing to go on from.
    if asked_from.is_some_and(|from| from > latest) {
        ready.push_back(reset(latest));
    }
    let feed = Feed {
        sees_all: !collection.rules.hide_some(caller.as_ref(), grant),
        filter: collection.rules.narrow(caller.as_ref(), grant, asked.filter)?,
        shown: Shown::decide(collection, caller.as_ref(), asked.fields)?,
        collection: Arc::clone(collection),
        cursor: asked_from.map_or(latest, |from| from.min(latest)),
        ready,
        ending: collection.feeds.ending.clone(),
        until: identity::read_until(request.headers()).map(instant_of),
        _place: place,
    };
    let events = futures_util::stream::unfold(feed, |mut feed| async move {
        let event = feed.next().await?;
        Some((Ok::<_, std::convert::Infallible>(event), feed))
    });
    let mut response = Response::new(Body::from_stream(events));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// Gives when a time is on the clock that nobody sets.
fn instant_of(time: SystemTime) -> Instant {
    let left = time.duration_since(SystemTime::now()).unwrap_or_default();
    let now = Instant::now();
    // A time that no clock reaches is as good as none.
    now.checked_add(left).unwrap_or(now + LONGEST)
}

/// Takes `after=SEQUENCE` out of a query, for clients that cannot send a field of their own.
fn take_after(query: &str) -> Result<(Option<u64>, String), Problem> {
    let (after, rest): (Vec<&str>, Vec<&str>) = query.split('&').partition(|pair| pair.starts_with("after="));
    let after = match after.as_slice() {
        [] => None,
        [one] => {
            let number = sequence(one.trim_start_matches("after="));
            Some(number.ok_or_else(|| malformed("`after` is the id of an event, or 0"))?)
        }
        _ => return Err(malformed("`after` stands twice")),
    };
    Ok((after, rest.join("&")))
}

/// Reads a sequence; greater ones than the database has are none.
fn sequence(text: &str) -> Option<u64> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|sequence| is_number && i64::try_from(*sequence).is_ok())
}

/// Tells whether anything is known of a field, so that a condition on it is no slip of the pen.
fn is_known(collection: &Collection, field: &Field) -> bool {
    collection.settings.scan
        || collection.schema.kind_of(field).is_some()
        || collection.indexed.iter().any(|indexed| indexed == field)
}

/// Writes the event that says to list again.
fn reset(from: u64) -> Bytes {
    Bytes::from(format!("id: {from}\nevent: reset\ndata: {{}}\n\n"))
}

async fn latest(collection: &Collection) -> Result<u64, Problem> {
    let page = collection.database.query(&collection.namespace, &Query::Latest).await;
    Ok(page.map_err(|error| problem_of_read(&error))?.sequence.unwrap_or(0))
}

/// One follower.
struct Feed {
    collection: Arc<Collection>,
    filter: Option<Filter>,
    shown: Shown,
    /// Whether there is no record that the caller does not see.
    sees_all: bool,
    /// The last change that was looked at.
    cursor: u64,
    /// What the client has not taken yet.
    ready: VecDeque<Bytes>,
    ending: watch::Receiver<bool>,
    /// Until when the caller's token is good; for ever without.
    until: Option<Instant>,
    _place: Place,
}

impl Feed {
    /// Gives what is sent next; `None` when the service stops or the caller's token ends.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if self.until.is_some_and(|until| until <= Instant::now()) {
                return None;
            }
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            let (mut ending, until) = (self.ending.clone(), self.until);
            let over = async {
                match until {
                    Some(until) => tokio::time::sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = over => return None,
                _ = ending.wait_for(|ending| *ending) => return None,
                () = self.fill() => {}
            }
        }
    }

    /// Waits for changes and makes events of them, or a heartbeat.
    async fn fill(&mut self) {
        let asked = Instant::now();
        let namespace = &self.collection.namespace;
        let changes = self.collection.database.changes(Some(namespace), self.cursor, BATCH, HEARTBEAT).await;
        let made = match changes {
            Ok(changes) if changes.is_empty() => {
                if asked.elapsed() < HEARTBEAT / 2 {
                    tokio::time::sleep(PAUSE).await;
                }
                Ok(VecDeque::new())
            }
            Ok(changes) => {
                let made = self.events(&changes).await;
                if made.is_ok() {
                    self.cursor = changes.last().map_or(self.cursor, |change| change.sequence);
                }
                made
            }
            Err(Error::ChangesGone { from }) => {
                self.cursor = from;
                Ok(VecDeque::from([reset(from)]))
            }
            Err(error) => Err(error),
        };
        match made {
            Ok(events) if events.is_empty() => {
                // An id without data is no event, and has the client go on from here all the same.
                if asked.elapsed() >= HEARTBEAT / 2 {
                    self.ready.push_back(Bytes::from(format!(": nothing\nid: {}\n\n", self.cursor)));
                }
            }
            Ok(events) => self.ready = events,
            Err(error) => {
                tracing::debug!(%error, "changes cannot be read for a follower");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    /// Makes events of the changes of this collection that are to be told.
    async fn events(&self, changes: &[Change]) -> Result<VecDeque<Bytes>, Error> {
        let own: Vec<&Change> =
            changes.iter().filter(|change| change.collection == self.collection.name).collect();
        let ids = |of_deletions: bool| {
            let about = own.iter().filter(|change| (change.kind == ChangeKind::Delete) == of_deletions);
            let mut ids: Vec<String> = about.map(|change| change.id.clone()).collect();
            ids.sort_unstable();
            ids.dedup();
            ids
        };
        let records = self.load(&self.collection.name, ids(false)).await?;
        let gone = match !self.sees_all && self.collection.settings.soft_delete {
            true => self.load(&deleted(&self.collection.name), ids(true)).await?,
            false => Vec::new(),
        };
        let mut events = VecDeque::new();
        for change in own {
            let record = records.iter().find(|record| record.id == change.id);
            let is_told = match (change.kind, record) {
                (ChangeKind::Delete, _) if self.sees_all => true,
                (ChangeKind::Delete, _) => gone.iter().any(|gone| self.saw(gone, change)),
                (_, Some(record)) => self.matches(record),
                // It is gone already; its deletion follows.
                (_, None) => self.filter.is_none(),
            };
            if is_told {
                let record = record.filter(|_| change.kind != ChangeKind::Delete);
                events.push_back(self.event(change, record));
            }
        }
        Ok(events)
    }

    fn matches(&self, record: &Record) -> bool {
        self.filter.as_ref().is_none_or(|filter| filter.matches(record))
    }

    /// Tells whether a deleted record is what a deletion put out of sight, untouched since, and the caller saw it.
    fn saw(&self, gone: &Record, deletion: &Change) -> bool {
        // Its move is the deletion, and then the making in the other place.
        gone.id == deletion.id && gone.version == deletion.sequence + 1 && self.matches(gone)
    }

    fn event(&self, change: &Change, record: Option<&Record>) -> Bytes {
        let kind = match change.kind {
            ChangeKind::Create => "create",
            ChangeKind::Update => "update",
            ChangeKind::Delete => "delete",
        };
        let mut cut = record.cloned();
        if let Some(record) = &mut cut {
            self.shown.apply(&self.collection, record);
        }
        let record = cut.as_ref().map(|record| Representation::of(record, self.shown.fields()));
        let event = Event { id: &change.id, version: change.sequence, at: change.at, record };
        // Written without line breaks, so one `data` line holds it.
        let data = serde_json::to_string(&event).unwrap_or_default();
        Bytes::from(format!("id: {}\nevent: {kind}\ndata: {data}\n\n", change.sequence))
    }

    async fn load(&self, place: &str, mut ids: Vec<String>) -> Result<Vec<Record>, Error> {
        let mut records = Vec::new();
        while !ids.is_empty() {
            let query = Query::Some { collection: place.to_owned(), ids: ids.clone() };
            let page = self.collection.database.query(&self.collection.namespace, &query).await?;
            records.extend(page.records.into_iter().filter(|record| !record.unreadable));
            match page.next {
                Some(next) => ids.retain(|id| *id >= next),
                None => break,
            }
        }
        Ok(records)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_to_go_on_is_taken_out_of_the_query() {
        assert_eq!(take_after("a=eq.1&after=7").unwrap(), (Some(7), "a=eq.1".to_owned()));
        assert_eq!(take_after("").unwrap(), (None, String::new()));
        for none in ["x", "", "+1", "-1", "9223372036854775808", "1e3"] {
            assert!(take_after(&format!("after={none}")).is_err(), "{none}");
        }
        assert!(take_after("after=x").is_err() && take_after("after=1&after=2").is_err());
    }
}
