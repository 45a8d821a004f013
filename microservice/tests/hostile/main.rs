//! Bad input of every sort, as bytes on the wire: each is refused with 4xx and a problem, none is 5xx, and the service goes on.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

#[macro_use]
#[path = "../house/mod.rs"]
mod house;

mod bodies;
mod odd;
mod patches;
mod random;
mod requests;
mod wire;

use bodies::{
    a_batch_that_makes_no_sense_is_refused, a_body_that_makes_no_sense_is_refused,
    a_line_that_makes_no_sense_is_refused_and_the_others_are_not,
};
use house::{Engine, House};
use odd::what_is_odd_and_valid_is_kept_as_it_is;
use patches::a_patch_that_makes_no_sense_is_refused;
use random::random_requests_are_never_a_fault_of_the_server;
use requests::{
    a_body_in_a_coding_is_refused, a_header_that_makes_no_sense_is_refused,
    a_path_or_method_that_makes_no_sense_is_refused, a_question_that_makes_no_sense_is_refused,
};
use serde_json::json;
use wire::send;

on_both_engines! {
    a_question_that_makes_no_sense_is_refused
    a_body_that_makes_no_sense_is_refused
    a_header_that_makes_no_sense_is_refused
    a_body_in_a_coding_is_refused
    a_path_or_method_that_makes_no_sense_is_refused
    a_patch_that_makes_no_sense_is_refused
    a_batch_that_makes_no_sense_is_refused
    a_line_that_makes_no_sense_is_refused_and_the_others_are_not
    what_is_odd_and_valid_is_kept_as_it_is
    random_requests_are_never_a_fault_of_the_server
}

const LOANS: &str = "/library/loans";
const NOTES: &str = "/library/notes";
const JSON: &str = "content-type: application/json\r\n";
const MERGE: &str = "content-type: application/merge-patch+json\r\n";
const PATCH: &str = "content-type: application/json-patch+json\r\n";
const NDJSON: &str = "content-type: application/x-ndjson\r\n";

const SCHEMA: &str = r#"{"type": "object", "required": ["title", "due"], "additionalProperties": false, "properties": {
    "title": {"type": "string", "minLength": 1, "maxLength": 100}, "due": {"type": "number"},
    "isbn": {"type": "string"}, "public": {"type": "boolean"}, "card": {"type": "string"},
    "tags": {"type": "array"}, "place": {"type": "object", "properties": {"shelf": {"type": "integer"}}}}}"#;
const LOAN: &[u8] = br#"{"title": "Emma", "due": 3, "isbn": "1", "card": "secret", "tags": [1, 2]}"#;

/// A service with two collections: one that declares everything, and one that takes any object. Of the first there is a
/// record `a`.
async fn library(engine: Engine) -> House {
    let folder = tempfile::tempdir().unwrap();
    let (schema, key) = (folder.path().join("loans.json"), folder.path().join("key"));
    std::fs::write(&schema, SCHEMA).unwrap();
    std::fs::write(&key, "c2l4Zm9sZCBzY2hlbWF0aGVzaXMgdGVzdCBrZXkgMzI=\n").unwrap();
    let service = json!({ "listen": "127.0.0.1:0", "collections": {
        "loans": {
            "schema": schema,
            "indexes": ["due", "public,-due", "title,due", "updated_at", "place.shelf"],
            "unique": ["isbn"],
            "sensitive": ["card"],
            "soft_delete": true,
            "history": 5,
            "rules": { "deleted": ["public"], "rows": "or=(public.is.null,public.is.not_null)" },
        },
        "notes": { "scan": true, "history": 3 },
    } });
    let mut house = House::start(engine, |config| {
        config.services.insert("library".to_owned(), serde_json::from_value(service).unwrap());
        config.sensitive.key_file = Some(key);
    })
    .await;
    house.start_service("library").await;
    let fields = format!("{JSON}if-none-match: *\r\n");
    let made = send(&house, "PUT", &format!("{LOANS}/a"), &fields, LOAN).await;
    assert_eq!(made.status, 201, "{made:?}");
    house
}

/// Checks that the service still answers, and ends.
async fn end(house: House) {
    let answer = send(&house, "GET", &format!("{LOANS}/a"), "", b"").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    house.stop().await;
}

/// Writes a text within brackets, so many deep.
fn nested(depth: usize, open: &str, inner: &str, close: &str) -> String {
    format!("{}{inner}{}", open.repeat(depth), close.repeat(depth))
}
