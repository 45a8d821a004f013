//! How stale an answer may be: what a client allows, and what the answer says of it (RFC 9111 §5.2.1.2 and §5.1).
//!
//! `Cache-Control: max-stale=5` on a read allows an answer that lacks what was done in the last five seconds; a
//! replica of the database may then give it (`database.replicas`). Without seconds the client takes what the house
//! takes, `database.replica_lag`, which bounds the other case too. Who says nothing gets what is durable now.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::response::Response;
use database::{Error, Page, Query};
use http::header::{AGE, CACHE_CONTROL, IF_MATCH};
use http::{HeaderMap, HeaderValue};

use crate::collection::Collection;

/// How stale the answer to one request may be, and what is known of how old it is.
#[derive(Debug, Default)]
pub(crate) struct Staleness {
    max: Duration,
    age: Mutex<Option<Duration>>,
}

impl Staleness {
    /// Allows none: for what a change is decided by, and for what is cached.
    pub(crate) fn none() -> Self {
        Self::default()
    }

    /// Reads what a request allows. Who names a version by `If-Match` wants to know of the present one.
    pub(crate) fn read(fields: &HeaderMap) -> Self {
        let max = match fields.contains_key(IF_MATCH) {
            true => Duration::ZERO,
            false => max_stale(fields),
        };
        Self { max, ..Self::default() }
    }

    /// Tells whether any is allowed.
    pub(crate) fn is_allowed(&self) -> bool {
        !self.max.is_zero()
    }

    /// Tells whether a replica gave any part of the answer.
    pub(crate) fn is_used(&self) -> bool {
        self.age().is_some()
    }

    /// Asks the database of a collection, and notes how old the answer is.
    pub(crate) async fn query(&self, collection: &Collection, query: &Query) -> Result<Page, Error> {
        let page = collection.database.query_within(&collection.namespace, query, self.max).await?;
        let mut age = self.age.lock().unwrap_or_else(PoisonError::into_inner);
        *age = (*age).max(page.age());
        drop(age);
        Ok(page)
    }

    /// Says in an answer how old it is, if a replica gave any part of it: whole seconds, and never too few.
    pub(crate) fn tell(&self, response: &mut Response) {
        if let Some(age) = self.age() {
            let seconds = age.as_secs() + u64::from(age.subsec_nanos() > 0);
            response.headers_mut().insert(AGE, HeaderValue::from(seconds));
        }
    }

    fn age(&self) -> Option<Duration> {
        *self.age.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads the staleness a request allows: the least it says, none where it says `no-cache` too or what cannot be read.
fn max_stale(fields: &HeaderMap) -> Duration {
    let mut found = None;
    for value in fields.get_all(CACHE_CONTROL) {
        let Ok(value) = value.to_str() else { return Duration::ZERO };
        for directive in directives(value) {
            let (name, argument) = match directive.split_once('=') {
                Some((name, argument)) => (name.trim(), Some(argument.trim())),
                None => (directive.trim(), None),
            };
            if name.eq_ignore_ascii_case("no-cache") {
                return Duration::ZERO;
            }
            if name.eq_ignore_ascii_case("max-stale") {
                let allowed = argument.map_or(Some(Duration::MAX), seconds).unwrap_or(Duration::ZERO);
                found = Some(found.map_or(allowed, |found: Duration| found.min(allowed)));
            }
        }
    }
    found.unwrap_or(Duration::ZERO)
}

/// Reads seconds (RFC 9111 §1.2.2); more than can be counted are as many as can be.
fn seconds(argument: &str) -> Option<Duration> {
    let digits = argument.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(argument);
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| Duration::from_secs(digits.parse().unwrap_or(u64::MAX)))
}

/// Splits a field at the commas that are not within quotes.
fn directives(value: &str) -> impl Iterator<Item = &str> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    value.split(move |c: char| {
        let was_escaped = std::mem::take(&mut is_escaped);
        match c {
            '\\' if is_quoted => is_escaped = !was_escaped,
            '"' if !was_escaped => is_quoted = !is_quoted,
            _ => {}
        }
        c == ',' && !is_quoted
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(values: &[&'static str]) -> Duration {
        let mut fields = HeaderMap::new();
        for value in values {
            fields.append(CACHE_CONTROL, HeaderValue::from_static(value));
        }
        Staleness::read(&fields).max
    }

    #[test]
    fn max_stale_allows_what_it_says_and_all_without_a_number() {
        assert_eq!(allowed(&[]), Duration::ZERO);
        assert_eq!(allowed(&["max-stale"]), Duration::MAX);
        assert_eq!(allowed(&["Max-Stale=5"]), Duration::from_secs(5));
        assert_eq!(allowed(&["no-transform , max-stale = \"5\""]), Duration::from_secs(5));
        assert_eq!(allowed(&["max-age=0", "max-stale=7"]), Duration::from_secs(7));
        assert_eq!(allowed(&["max-stale=99999999999999999999"]), Duration::from_secs(u64::MAX));
        assert_eq!(allowed(&["max-stale, max-stale=3", "max-stale=4"]), Duration::from_secs(3));
    }

    #[test]
    fn what_cannot_be_read_or_is_contradicted_allows_nothing() {
        for value in [
            "max-stale=0",
            "max-stale=-1",
            "max-stale=",
            "max-stale=1.5",
            "max-stale=\"",
            "max-stale=5s",
            "max-stale=5, max-stale=x",
            "max-stale=5, no-cache",
            "no-cache, max-stale",
            "max-stales=5",
            "x=\"a, max-stale\"",
            "x=\"\\\", max-stale\"",
        ] {
            assert_eq!(allowed(&[value]), Duration::ZERO, "{value}");
        }
        let mut fields = HeaderMap::new();
        fields.insert(CACHE_CONTROL, HeaderValue::from_static("max-stale"));
        fields.insert(IF_MATCH, HeaderValue::from_static("\"1\""));
        assert!(!Staleness::read(&fields).is_allowed(), "a named version is compared with the present one");
    }

    #[test]
    fn the_age_is_whole_seconds_and_only_where_there_is_one() {
        let told = |age| {
            let mut response = Response::default();
            Staleness { age: Mutex::new(age), ..Staleness::default() }.tell(&mut response);
            response.headers().get(AGE).map(|age| age.to_str().unwrap().to_owned())
        };
        assert_eq!(told(None), None);
        assert_eq!(told(Some(Duration::ZERO)).as_deref(), Some("0"));
        assert_eq!(told(Some(Duration::from_millis(1))).as_deref(), Some("1"));
        assert_eq!(told(Some(Duration::from_millis(1001))).as_deref(), Some("2"));
    }
}
