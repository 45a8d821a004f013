//! What a record looks like over HTTP, prepared once so that a cached read writes nothing anew.

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use database::Record;
use http::header::{CONTENT_TYPE, ETAG};
use http::{HeaderValue, StatusCode};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::body::JSON;
use crate::condition::entity_tag;

/// What a cached value begins with; another byte is of another release and is passed over.
const FORM: u8 = 1;

/// The bytes before the body: [`FORM`] and the version, most significant byte first.
const HEAD: usize = 9;

/// A record's version and its body, in the one buffer the shared cache holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Prepared(Bytes);

/// The body: the record's fields between its name and its times.
#[derive(Serialize)]
pub(super) struct Representation<'a> {
    id: &'a str,
    #[serde(flatten)]
    data: &'a Map<String, Value>,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl<'a> From<&'a Record> for Representation<'a> {
    fn from(record: &'a Record) -> Self {
        Self {
            id: &record.id,
            data: &record.data,
            created_at: record.created_at,
            updated_at: record.updated_at,
        }
    }
}

impl Prepared {
    /// Prepares a record.
    pub(super) fn new(record: &Record) -> Self {
        let mut buffer = Vec::with_capacity(512);
        buffer.push(FORM);
        buffer.extend_from_slice(&record.version.to_be_bytes());
        // Writing strings, numbers and times into memory has no way to fail.
        let _ = serde_json::to_writer(&mut buffer, &Representation::from(record));
        Self(Bytes::from(buffer))
    }

    /// Takes what the cache holds; `None` when it is not of this release.
    pub(super) fn from_cached(value: Bytes) -> Option<Self> {
        (value.len() > HEAD && value[0] == FORM).then_some(Self(value))
    }

    /// Gives what the cache is to hold.
    pub(super) fn to_cached(&self) -> Bytes {
        self.0.clone()
    }

    /// Gives the record's version.
    pub(super) fn version(&self) -> u64 {
        self.0[1..HEAD].iter().fold(0, |version, byte| version << 8 | u64::from(*byte))
    }

    /// Makes the answer that carries the record.
    pub(super) fn into_response(self, status: StatusCode) -> Response {
        let tag = entity_tag(self.version());
        let mut response = Response::new(Body::from(self.0.slice(HEAD..)));
        *response.status_mut() = status;
        let fields = response.headers_mut();
        fields.insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
        fields.insert(ETAG, tag);
        response
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_prepared_record_comes_back_from_the_cache_as_it_went() {
        let Value::Object(data) = json!({"name": "Lamp", "price": 19.5}) else { unreachable!() };
        let at: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
        let record = Record {
            collection: "products".into(),
            id: "lamp".into(),
            version: 0x0102_0304_0506,
            created_at: at,
            updated_at: at,
            data,
        };
        let prepared = Prepared::new(&record);
        let cached = Prepared::from_cached(prepared.to_cached()).unwrap();
        assert_eq!(cached, prepared);
        assert_eq!(cached.version(), record.version);
        let body: Value = serde_json::from_slice(&cached.0[HEAD..]).unwrap();
        let expected = json!({"id": "lamp", "name": "Lamp", "price": 19.5,
            "created_at": "2026-01-02T03:04:05Z", "updated_at": "2026-01-02T03:04:05Z"});
        assert_eq!(body, expected);
    }

    #[test]
    fn what_another_release_cached_is_passed_over() {
        for value in [&b""[..], &b"\x01"[..], &b"\x02________{}"[..], &b"{\"id\": \"lamp\"}"[..]] {
            assert_eq!(Prepared::from_cached(Bytes::from_static(value)), None);
        }
    }
}
