//! A service of people with a pin, and what the tests do with it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use database::find::Find;
use database::{Operation, Precondition, Query, Record, Transaction};
use http::Method;
use microservice::Config;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::house::{Answer, Engine, House};

pub(crate) const PEOPLE: &str = "/staff/people";

pub(crate) const SECRET: &str = "hunter2-4711";

pub(crate) const OLD: &str = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";

pub(crate) const NEW: &str = "YWJjZGVmZ2hpamFiY2RlZmdoaWphYmNkZWZnaGlqYWI=";

/// A key file of a test.
pub(crate) fn key(folder: &TempDir, name: &str, base64: &str) -> PathBuf {
    let file = folder.path().join(name);
    std::fs::write(&file, base64).unwrap();
    file
}

/// A service of people whose pin an auditor, and they themselves, may read.
pub(crate) fn staff(config: &mut Config, folder: &Path) {
    let schema = folder.join("people.json");
    let document = json!({ "type": "object", "required": ["name", "pin"], "maxProperties": 5, "properties": {
        "name": { "type": "string" },
        "pin": { "type": "string", "maxLength": 20 },
        "card": { "type": "object", "additionalProperties": { "type": "integer" } },
    } });
    std::fs::write(&schema, document.to_string()).unwrap();
    let service = json!({ "listen": "127.0.0.1:0", "collections": { "people": {
        "schema": schema, "owner": "by", "indexes": ["name", "by:text"], "scan": true,
        "sensitive": ["pin", "card"],
        "rules": { "sensitive": ["auditor", "owner"] },
    } } });
    config.services = BTreeMap::from([("staff".to_owned(), serde_json::from_value(service).unwrap())]);
}

pub(crate) async fn house(engine: Engine, folder: &TempDir) -> House {
    let file = key(folder, "old.key", OLD);
    let mut house = House::start(engine, |config| {
        staff(config, folder.path());
        config.sensitive.key_file = Some(file);
    })
    .await;
    house.start_service("staff").await;
    house
}

pub(crate) async fn send(house: &House, who: &str, method: Method, path: &str, body: &str) -> Answer {
    let media_type = match method {
        Method::PATCH if body.starts_with('[') => "application/json-patch+json",
        Method::PATCH => "application/merge-patch+json",
        _ => "application/json",
    };
    let roles = if who == "eve" { "auditor" } else { "user" };
    let fields = [("content-type", media_type), ("sixfold-subject", who), ("sixfold-roles", roles)];
    house.send("staff", method, path, &fields, body).await
}

pub(crate) async fn add(house: &House, who: &str, name: &str) -> String {
    let body = json!({"name": name, "pin": SECRET, "card": {"number": 12_345_678}}).to_string();
    let made = send(house, who, Method::POST, PEOPLE, &body).await;
    assert_eq!(made.status, 201, "{made:?}");
    tells_nothing(&made);
    made.field("location").to_owned()
}

/// Checks that nothing sensitive stands in an answer.
pub(crate) fn tells_nothing(answer: &Answer) {
    let text = String::from_utf8_lossy(&answer.text);
    for told in [SECRET, "12345678", "$sealed"] {
        assert!(!text.contains(told), "{text}");
    }
}

/// Gives what the database holds of the people.
pub(crate) async fn stored(house: &House) -> Vec<Record> {
    let query = Query::Find(Find::all("people", 100));
    house.database().query("staff", &query).await.unwrap().records
}

/// Starts the service again with another key, and the one it had as a previous one.
pub(crate) async fn rotate(house: &mut House, folder: &TempDir) {
    let sensitive = &mut house.config.sensitive;
    let new = key(folder, "new.key", NEW);
    sensitive.previous_key_files = sensitive.key_file.replace(new).into_iter().collect();
    house.start_service("staff").await;
}

/// Writes a record past the service.
pub(crate) async fn put(house: &House, id: &str, data: Value) {
    let Value::Object(data) = data else { panic!("an object") };
    let (collection, id) = ("people".to_owned(), id.to_owned());
    let operations = vec![Operation::Put { collection, id, data, precondition: Precondition::None }];
    let transaction = Transaction { namespace: "staff".to_owned(), operations };
    house.database().transact(transaction).await.unwrap();
}
