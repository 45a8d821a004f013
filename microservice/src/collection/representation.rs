//! What a record looks like over HTTP, prepared once so that a cached read writes nothing anew.

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use database::Record;
use database::find::Field;
use database::find::field::{CREATED_AT, UPDATED_AT};
use http::header::{CONTENT_TYPE, ETAG};
use http::{HeaderValue, StatusCode};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::body::JSON;
use crate::condition::entity_tag;
use crate::declare::is_deleted;
use crate::schema::DELETED_AT;

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
    #[serde(skip_serializing_if = "Option::is_none")]
    created_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    updated_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deleted_at: Option<Timestamp>,
}

impl<'a> Representation<'a> {
    /// Represents a record whose data was cut down to fields: its name is always there, its times if named.
    pub(super) fn of(record: &'a Record, fields: Option<&[Field]>) -> Self {
        let has = |name: &str| fields.is_none_or(|fields| fields.iter().any(|field| field.as_str() == name));
        Self {
            id: &record.id,
            data: &record.data,
            created_at: has(CREATED_AT).then_some(record.created_at),
            updated_at: has(UPDATED_AT).then_some(record.updated_at),
            // Being deleted was the last that happened to it.
            deleted_at: (is_deleted(&record.collection) && has(DELETED_AT)).then_some(record.updated_at),
        }
    }

    /// Represents an earlier version, which lies where its record does and was not deleted, cut down likewise.
    pub(super) fn of_earlier(record: &'a Record, fields: Option<&[Field]>) -> Self {
        Self { deleted_at: None, ..Self::of(record, fields) }
    }
}

impl<'a> From<&'a Record> for Representation<'a> {
    fn from(record: &'a Record) -> Self {
        Self::of(record, None)
    }
}

impl Prepared {
    /// Prepares a record.
    pub(super) fn new(record: &Record) -> Self {
        Self::of(record, None)
    }

    /// Prepares a record whose data was cut down to fields.
    pub(super) fn of(record: &Record, fields: Option<&[Field]>) -> Self {
        let mut buffer = Vec::with_capacity(512);
        buffer.push(FORM);
        buffer.extend_from_slice(&record.version.to_be_bytes());
        // Writing strings, numbers and times into memory has no way to fail.
        let _ = serde_json::to_writer(&mut buffer, &Representation::of(record, fields));
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

    /// Reads the record back.
    pub(super) fn to_record(&self, collection: &str) -> Option<Record> {
        let mut data: Map<String, Value> = serde_json::from_slice(&self.0[HEAD..]).ok()?;
        let mut text = |name: &str| match data.remove(name) {
            Some(Value::String(text)) => Some(text),
            _ => None,
        };
        let (id, created_at, updated_at) = (text("id")?, text(CREATED_AT)?, text(UPDATED_AT)?);
        Some(Record {
            collection: collection.to_owned(),
            id,
            version: self.version(),
            created_at: created_at.parse().ok()?,
            updated_at: updated_at.parse().ok()?,
            data,
            unreadable: false,
        })
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
            unreadable: false,
        };
        let prepared = Prepared::new(&record);
        let cached = Prepared::from_cached(prepared.to_cached()).unwrap();
        assert_eq!(cached, prepared);
        assert_eq!(cached.version(), record.version);
        let body: Value = serde_json::from_slice(&cached.0[HEAD..]).unwrap();
        assert_eq!(cached.to_record("products"), Some(record));
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
