//! The earlier versions of records.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

#[macro_use]
mod house;

use std::collections::BTreeMap;
use std::time::Duration;

use database::{Operation, Precondition, Query, Transaction};
use house::{Answer, Engine, House};
use http::Method;
use microservice::Config;
use serde_json::{Map, Value, json};

on_both_engines! {
    every_change_leaves_the_version_before_it
    a_history_is_bounded_by_number_and_by_age
    a_history_is_shown_to_whom_sees_the_record_and_no_further
    a_history_goes_with_the_record
}

const PAGES: &str = "/wiki/pages";

fn wiki(config: &mut Config, more: &Value, folder: Option<&std::path::Path>) {
    let mut pages = json!({ "history": 3, "owner": "by", "indexes": ["by:text"], "rules": { "read": ["owner", "editor"] } });
    let (Value::Object(own), Value::Object(more)) = (&mut pages, more) else { panic!("objects") };
    own.extend(more.clone());
    let service = json!({ "listen": "127.0.0.1:0", "collections": { "pages": pages } });
    config.services = BTreeMap::from([("wiki".to_owned(), serde_json::from_value(service).unwrap())]);
    config.sensitive.key_file = folder.map(|folder| {
        let file = folder.join("key");
        std::fs::write(&file, "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=").unwrap();
        file
    });
}

async fn house(engine: Engine, more: Value) -> House {
    let mut house = House::start(engine, |config| wiki(config, &more, None)).await;
    house.start_service("wiki").await;
    house
}

async fn send(house: &House, who: &str, method: Method, path: &str, body: &str) -> Answer {
    let roles = if who == "eve" { "editor" } else { "user" };
    let media_type =
        if method == Method::PATCH { "application/merge-patch+json" } else { "application/json" };
    let fields = [("content-type", media_type), ("sixfold-subject", who), ("sixfold-roles", roles)];
    house.send("wiki", method, path, &fields, body).await
}

/// Makes a page and changes it so often.
async fn page(house: &House, changes: u32) -> String {
    let made = send(house, "ada", Method::POST, PAGES, r#"{"n": 0}"#).await;
    assert_eq!(made.status, 201, "{made:?}");
    let path = made.field("location").to_owned();
    for n in 1..=changes {
        let changed = send(house, "ada", Method::PATCH, &path, &json!({ "n": n }).to_string()).await;
        assert_eq!(changed.status, 200, "{changed:?}");
    }
    path
}

async fn history(house: &House, who: &str, path: &str, query: &str) -> Answer {
    send(house, who, Method::GET, &format!("{path}/history?{query}"), "").await
}

fn numbers(answer: &Answer) -> Vec<Value> {
    let items = answer.json()["items"].clone();
    let items = items.as_array().unwrap_or_else(|| panic!("{answer:?}"));
    items.iter().map(|item| item["record"]["n"].clone()).collect()
}

async fn every_change_leaves_the_version_before_it(engine: Engine) {
    let house = house(engine, json!({})).await;
    let path = page(&house, 0).await;
    assert_eq!(history(&house, "ada", &path, "").await.json(), json!({"items": [], "next": null}));
    let first = send(&house, "ada", Method::GET, &path, "").await;
    send(&house, "ada", Method::PUT, &path, r#"{"n": 1, "text": "x"}"#).await;
    // By whom ever.
    let database = house.database();
    let patch = Operation::Patch {
        collection: "pages".to_owned(),
        id: path.rsplit('/').next().unwrap().to_owned(),
        patch: Map::from_iter([("n".to_owned(), json!(2))]),
        precondition: Precondition::None,
    };
    // Twice in one transaction: two versions.
    let transaction = Transaction { namespace: "wiki".to_owned(), operations: vec![patch.clone(), patch] };
    database.transact(transaction).await.unwrap();
    let all = history(&house, "ada", &path, "").await;
    assert_eq!(numbers(&all), [2, 1, 0]);
    let oldest = all.json()["items"][2].clone();
    assert_eq!(oldest["record"], first.json());
    assert_eq!(format!("\"{}\"", oldest["version"]), first.field("etag"));
    assert_eq!(oldest["until"], all.json()["items"][1]["record"]["updated_at"]);
    // Page by page.
    let (mut walked, mut query) = (Vec::new(), "limit=2".to_owned());
    loop {
        let page = history(&house, "ada", &path, &query).await;
        walked.extend(numbers(&page));
        let Some(next) = page.json()["next"].as_str().map(str::to_owned) else { break };
        query = format!("limit=2&cursor={next}");
        let other = self::page(&house, 0).await;
        assert_eq!(history(&house, "ada", &other, &query).await.status, 409, "a cursor is its record's");
    }
    assert_eq!(walked, [2, 1, 0]);
    // What was refused left nothing.
    let fields = [("content-type", "application/json"), ("sixfold-subject", "ada"), ("if-match", "\"1\"")];
    assert_eq!(house.send("wiki", Method::PUT, &path, &fields, "{}").await.status, 412);
    assert_eq!(numbers(&history(&house, "ada", &path, "").await), [2, 1, 0]);
    house.stop().await;
}

async fn a_history_is_bounded_by_number_and_by_age(engine: Engine) {
    let house = house(engine, json!({})).await;
    let path = page(&house, 9).await;
    assert_eq!(numbers(&history(&house, "ada", &path, "").await), [8, 7, 6]);
    house.stop().await;

    let mut house = self::house(engine, json!({"history": 100})).await;
    let path = page(&house, 9).await;
    assert_eq!(numbers(&history(&house, "ada", &path, "").await).len(), 9);
    let pages = house.config.services.get_mut("wiki").unwrap().collections.get_mut("pages").unwrap();
    pages.history_age = Duration::from_millis(1);
    house.start_service("wiki").await;
    assert_eq!(numbers(&history(&house, "ada", &path, "").await), [Value::Null; 0], "over is not shown");
    // And removed, though nobody writes.
    let query = Query::History {
        collection: "pages".to_owned(),
        id: path.rsplit('/').next().unwrap().to_owned(),
        before: None,
        limit: 100,
    };
    let pages = house.config.services.get_mut("wiki").unwrap().collections.get_mut("pages").unwrap();
    pages.history_age = Duration::ZERO;
    let gone = async {
        loop {
            // What is declared now would show what was over and is still there.
            house.start_service("wiki").await;
            if house.database().query("wiki", &query).await.unwrap().earlier.is_empty() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), gone).await.unwrap();
    house.stop().await;

    let house = self::house(engine, json!({"history": 0})).await;
    let path = page(&house, 1).await;
    assert_eq!(history(&house, "ada", &path, "").await.status, 404, "without one there is none");
    house.stop().await;
}

async fn a_history_is_shown_to_whom_sees_the_record_and_no_further(engine: Engine) {
    let folder = tempfile::tempdir().unwrap();
    let more =
        json!({"sensitive": ["pin"], "rules": { "read": ["owner", "editor"], "sensitive": ["editor"] }});
    let mut house = House::start(engine, |config| wiki(config, &more, Some(folder.path()))).await;
    house.start_service("wiki").await;
    let made = send(&house, "ada", Method::POST, PAGES, r#"{"n": 0, "pin": "hunter2-0"}"#).await;
    let path = made.field("location").to_owned();
    send(&house, "ada", Method::PATCH, &path, r#"{"n": 1, "pin": "hunter2-1"}"#).await;
    assert_eq!(history(&house, "bob", &path, "").await.status, 404);
    let plain = history(&house, "eve", &path, "").await;
    assert!(!String::from_utf8_lossy(&plain.text).contains("hunter2"), "{plain:?}");
    assert!(!String::from_utf8_lossy(&plain.text).contains("$sealed"), "{plain:?}");
    assert_eq!(history(&house, "ada", &path, "fields=pin").await.status, 403);
    let shown = history(&house, "eve", &path, "fields=pin").await.json();
    assert_eq!(shown["items"][0]["record"]["pin"], "hunter2-0");
    // A version that was another's is not its present owner's.
    let patch = Operation::Patch {
        collection: "pages".to_owned(),
        id: path.rsplit('/').next().unwrap().to_owned(),
        patch: Map::from_iter([("by".to_owned(), json!("bob"))]),
        precondition: Precondition::None,
    };
    let transaction = Transaction { namespace: "wiki".to_owned(), operations: vec![patch] };
    house.database().transact(transaction).await.unwrap();
    send(&house, "bob", Method::PATCH, &path, r#"{"n": 2}"#).await;
    house.get_until("wiki", &path, |answer| answer.status == 401).await;
    let his = history(&house, "bob", &path, "").await;
    assert_eq!((his.status.as_u16(), numbers(&his).len()), (200, 1), "{his:?}");
    assert_eq!(numbers(&history(&house, "eve", &path, "").await).len(), 3);
    house.stop().await;
}

async fn a_history_goes_with_the_record(engine: Engine) {
    let more = json!({"soft_delete": true, "rules": { "deleted": ["editor"] }});
    let house = house(engine, more).await;
    let path = page(&house, 2).await;
    let last = send(&house, "ada", Method::GET, &path, "").await.json();
    let before = history(&house, "ada", &path, "").await.json()["items"].clone();
    assert_eq!(send(&house, "ada", Method::DELETE, &path, "").await.status, 204);
    assert_eq!(history(&house, "eve", &path, "").await.status, 404);
    let kept = history(&house, "eve", &path, "deleted=only").await.json()["items"].clone();
    assert_eq!((&kept[0]["record"], &kept[1], &kept[2]), (&last, &before[0], &before[1]), "as they were");
    assert_eq!(numbers(&history(&house, "eve", &path, "deleted=only").await), [2, 1, 0]);
    assert_eq!(history(&house, "ada", &path, "deleted=only").await.status, 403);
    // A new record under the name, of whom may purge the old one, has nothing of that.
    let fields = [
        ("content-type", "application/json"),
        ("sixfold-subject", "eve"),
        ("sixfold-roles", "editor"),
        ("if-none-match", "*"),
    ];
    assert_eq!(house.send("wiki", Method::PUT, &path, &fields, r#"{"n": 9}"#).await.status, 201);
    assert_eq!(numbers(&history(&house, "eve", &path, "").await), [Value::Null; 0]);
    send(&house, "ada", Method::PATCH, &path, r#"{"n": 10}"#).await;
    assert_eq!(numbers(&history(&house, "eve", &path, "").await), [9]);
    // Its deletion takes the place of the earlier one, the history too.
    assert_eq!(send(&house, "eve", Method::DELETE, &path, "").await.status, 204);
    assert_eq!(numbers(&history(&house, "eve", &path, "deleted=only").await), [10, 9]);
    assert_eq!(send(&house, "eve", Method::POST, &format!("{path}/restore"), "").await.status, 201);
    assert_eq!(numbers(&history(&house, "eve", &path, "").await), [10, 9]);
    house.stop().await;

    // Where deletions are not soft, nothing is left.
    let house = self::house(engine, json!({})).await;
    let path = page(&house, 2).await;
    assert_eq!(send(&house, "ada", Method::DELETE, &path, "").await.status, 204);
    assert_eq!(house.send("wiki", Method::PUT, &path, &fields, r#"{"n": 9}"#).await.status, 201);
    assert_eq!(numbers(&history(&house, "eve", &path, "").await), [Value::Null; 0]);
    house.stop().await;
}
