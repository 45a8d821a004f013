//! `Idempotency-Key`: an unsafe request that happens once, however often it is sent.
//!
//! The database keeps the key with what was done, in the same transaction. The same request again is answered as
//! it was the first time; one that comes while the first is under way is 409 (`in_flight`), or, where that is not known,
//! waits for it and gets that answer too. Another request under the key is 422. A request that was refused did nothing, so its key is free.

use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};
use axum::response::Response;
use bytes::Bytes;
use database::{Operation, Outcome, Query};
use http::{HeaderMap, HeaderName, Method, header};
use process::problem::kinds;
use process::{Identity, Problem};

use super::Collection;
use super::in_flight::Flight;
use crate::fault::{RETRY_AFTER, problem_of, problem_of_read};
use crate::sensitive::Keys;

/// The field, as `draft-ietf-httpapi-idempotency-key-header` has it.
pub(super) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// How long a key stands.
const KEPT: Duration = Duration::from_secs(24 * 3600);

/// The longest key, in bytes.
const KEY_LIMIT: usize = 255;

/// What is hashed with the keys of lines, so that none is the key of a request.
const LINE: &[u8] = b"line";

/// A key with what tells its request from another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Once {
    key: String,
    /// The hash that is kept, and then those that were kept under earlier keys of sensitive fields.
    fingerprints: Vec<String>,
}

impl Once {
    /// Reads the key of a request; `None` without one.
    ///
    /// Each caller has keys of its own, so that nobody is answered what was another's.
    pub(super) fn read(
        fields: &HeaderMap,
        method: &Method,
        target: &str,
        caller: Option<&Identity>,
        body: &Bytes,
        keys: Option<&Keys>,
    ) -> Result<Option<Self>, Problem> {
        let Some(key) = key_of(fields)? else { return Ok(None) };
        let subject = caller.map_or("", |caller| caller.subject.as_str());
        let conditions = [header::CONTENT_TYPE, header::IF_MATCH, header::IF_NONE_MATCH];
        let conditions =
            conditions.iter().map(|name| fields.get(name).map_or(&b""[..], |value| value.as_bytes()));
        let request = [method.as_str().as_bytes(), target.as_bytes()];
        let parts: Vec<&[u8]> = request.into_iter().chain(conditions).chain([&body[..]]).collect();
        let key = hash(&[subject.as_bytes(), key.as_bytes()]);
        Ok(Some(Self { key, fingerprints: fingerprints(&parts, keys) }))
    }

    /// Gives the operation that goes first.
    pub(super) fn operation(&self) -> Operation {
        Operation::Once {
            key: self.key.clone(),
            fingerprint: self.fingerprints[0].clone(),
            keep_ms: u64::try_from(KEPT.as_millis()).unwrap_or(u64::MAX),
        }
    }

    /// Finds what was done when the request came before.
    pub(super) async fn find(&self, collection: &Collection) -> Result<Option<Vec<Outcome>>, Problem> {
        let query = Query::Answer { key: self.key.clone() };
        let page = collection.database.query(&collection.namespace, &query).await;
        let Some(answer) = page.map_err(|error| problem_of_read(&error))?.answer else { return Ok(None) };
        match self.fingerprints.contains(&answer.fingerprint) {
            true => Ok(Some(answer.committed.outcomes)),
            false => Err(problem_of(&database::Error::KeyReused)),
        }
    }
}

/// The key of an import, of which each line has a key of its own: so an import that is sent again makes only what
/// it did not make before, be it that it was cut off or that a line was mended which had been refused.
#[derive(Debug)]
pub(super) struct LineKeys {
    subject: String,
    key: String,
    path: String,
}

impl LineKeys {
    /// Reads the key of an import; `None` without one.
    pub(super) fn read(
        fields: &HeaderMap,
        path: &str,
        caller: Option<&Identity>,
    ) -> Result<Option<Self>, Problem> {
        let Some(key) = key_of(fields)? else { return Ok(None) };
        let subject = caller.map_or_else(String::new, |caller| caller.subject.clone());
        Ok(Some(Self { subject, key: key.to_owned(), path: path.to_owned() }))
    }

    /// Gives the key of a line.
    pub(super) fn of(&self, number: u64, line: &[u8], keys: Option<&Keys>) -> Once {
        let number = number.to_be_bytes();
        let key = hash(&[self.subject.as_bytes(), self.key.as_bytes(), LINE, &number]);
        Once { key, fingerprints: fingerprints(&[LINE, self.path.as_bytes(), line], keys) }
    }
}

/// Reads the field: a text, in quotes (a string of RFC 9651) or without.
pub(crate) fn key_of(fields: &HeaderMap) -> Result<Option<&str>, Problem> {
    let Some(sent) = fields.get(IDEMPOTENCY_KEY) else { return Ok(None) };
    let is_one = fields.get_all(IDEMPOTENCY_KEY).iter().count() == 1;
    let text = sent.to_str().unwrap_or_default();
    let key = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    let is_visible = key.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"');
    if !is_one || !is_visible || key.is_empty() || key.len() > KEY_LIMIT {
        let detail = format!(
            "Idempotency-Key is one text of 1 to {KEY_LIMIT} visible ASCII characters without quotes"
        );
        return Err(Problem::new(kinds::MALFORMED_REQUEST).detail(detail));
    }
    Ok(Some(key))
}

/// Hashes what a request is. A bare hash of a body with sensitive fields could be tried out by whoever has the database.
fn fingerprints(parts: &[&[u8]], keys: Option<&Keys>) -> Vec<String> {
    let request = hash(parts);
    match keys {
        Some(keys) => keys.fingerprints(&request).collect(),
        None => vec![request],
    }
}

/// Does what a request asks, or answers what was done when it came before under its key.
pub(super) async fn happen(
    collection: &Collection,
    once: Option<&Once>,
    done: impl FnOnce(Vec<Outcome>) -> Result<Response, Problem>,
    act: impl Future<Output = Result<Response, Problem>>,
) -> Result<Response, Problem> {
    match once {
        // Boxed: most requests have no key, and their futures are moved whole.
        Some(once) => Box::pin(happen_once(collection, once, done, act)).await,
        None => act.await,
    }
}

async fn happen_once(
    collection: &Collection,
    once: &Once,
    done: impl FnOnce(Vec<Outcome>) -> Result<Response, Problem>,
    act: impl Future<Output = Result<Response, Problem>>,
) -> Result<Response, Problem> {
    if let Some(outcomes) = once.find(collection).await? {
        return done(outcomes);
    }
    let name = format!("{}:{}", collection.namespace, once.key);
    let Some(flight) = Flight::begin(&collection.in_flight, &collection.cache, &name).await else {
        // It may have ended in between.
        return match once.find(collection).await? {
            Some(outcomes) => done(outcomes),
            None => Err(Problem::new(kinds::KEY_IN_USE).retry_after(RETRY_AFTER)),
        };
    };
    let answer = act.await;
    if answer.is_err() {
        // It may have been decided on what the same request left, done meanwhile at another instance.
        if let Ok(Some(outcomes)) = once.find(collection).await {
            return done(outcomes);
        }
        flight.give_up(&collection.cache).await;
    }
    answer
}

/// Hashes parts, each preceded by its length so that no two lists of parts are alike.
fn hash(parts: &[&[u8]]) -> String {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    context.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(key: &str, path: &str, subject: &str, body: &'static str) -> Once {
        let fields = HeaderMap::from_iter([(IDEMPOTENCY_KEY, key.parse().unwrap())]);
        let caller = Identity { subject: subject.into(), roles: vec![], claims: Default::default() };
        Once::read(&fields, &Method::POST, path, Some(&caller), &Bytes::from(body), None).unwrap().unwrap()
    }

    #[test]
    fn a_key_is_a_caller_s_own_and_its_request_is_path_query_and_body() {
        let first = read("k", "/a/b", "ada", "{}");
        assert_eq!(read("\"k\"", "/a/b", "ada", "{}"), first);
        assert_ne!(read("k", "/a/b", "bob", "{}").key, first.key);
        for (target, body) in [("/a/c", "{}"), ("/a/b?c", "{}"), ("/a/b", "{ }")] {
            let other = read("k", target, "ada", body);
            assert_eq!(other.key, first.key);
            assert_ne!(other.fingerprints, first.fingerprints);
        }
    }

    #[test]
    fn a_key_that_cannot_be_one_is_refused() {
        let none = HeaderMap::new();
        assert_eq!(Once::read(&none, &Method::POST, "/", None, &Bytes::new(), None), Ok(None));
        for key in ["", "\"\"", "\"", "a b", "a\"b", "\"a", &"x".repeat(KEY_LIMIT + 1)] {
            let fields = HeaderMap::from_iter([(IDEMPOTENCY_KEY, key.parse().unwrap())]);
            assert!(Once::read(&fields, &Method::POST, "/", None, &Bytes::new(), None).is_err(), "{key}");
        }
        let mut twice = HeaderMap::new();
        twice.append(IDEMPOTENCY_KEY, "a".parse().unwrap());
        twice.append(IDEMPOTENCY_KEY, "b".parse().unwrap());
        assert!(Once::read(&twice, &Method::POST, "/", None, &Bytes::new(), None).is_err());
    }
}
