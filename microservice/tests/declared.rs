//! What a service declares when it starts: what records contradict of one collection keeps nothing of another.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

#[macro_use]
mod house;

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use database::{Operation, Precondition, Query, Transaction};
use house::{Answer, Engine, House};
use http::Method;
use microservice::Config;
use serde_json::{Value, json};
use tokio::task::JoinSet;

on_both_engines! {
    a_contradicted_declaration_keeps_nothing_else_of_the_service
    the_key_of_cursors_is_there_before_it_is_needed
}

on_one_engine! { indexes Postgres an_index_that_takes_long_keeps_nothing_else_of_the_service }

fn shop(config: &mut Config, first: Value, last: Value) {
    let service = json!({ "listen": "127.0.0.1:0", "collections": { "a": first, "z": last } });
    config.services = BTreeMap::from([("shop".to_owned(), serde_json::from_value(service).unwrap())]);
}

async fn send(house: &House, method: Method, path: &str, body: &str) -> Answer {
    let media_type =
        if method == Method::PATCH { "application/merge-patch+json" } else { "application/json" };
    let fields = [("content-type", media_type), ("sixfold-subject", "ada"), ("sixfold-roles", "staff")];
    house.send("shop", method, path, &fields, body).await
}

async fn add(house: &House, path: &str, body: Value) -> String {
    let made = send(house, Method::POST, path, &body.to_string()).await;
    assert_eq!(made.status, 201, "{made:?}");
    made.field("location").to_owned()
}

/// Gives what is stored of a collection, as text.
async fn stored(house: &House, collection: &str) -> String {
    let query = Query::List { collection: collection.to_owned(), after: None, limit: 100 };
    let records = house.database().query("shop", &query).await.unwrap().records;
    serde_json::to_string(&records.iter().map(|record| &record.data).collect::<Vec<_>>()).unwrap()
}

async fn a_contradicted_declaration_keeps_nothing_else_of_the_service(engine: Engine) {
    let mut house = House::start(engine, |config| {
        shop(config, json!({}), json!({ "soft_delete": true, "rules": { "deleted": ["staff"] } }));
    })
    .await;
    house.start_service("shop").await;
    for mail in ["same", "same", "other"] {
        add(&house, "/shop/a", json!({ "mail": mail, "name": "n" })).await;
    }
    let kept = add(&house, "/shop/z", json!({ "name": "kept", "n": 1, "secret": "plain" })).await;
    let gone = add(&house, "/shop/z", json!({ "name": "gone", "n": 2, "secret": "plain" })).await;
    assert_eq!(send(&house, Method::DELETE, &gone, "").await.status, 204);

    let keys = tempfile::tempdir().unwrap();
    let file = keys.path().join("sensitive.key");
    std::fs::write(&file, BASE64_STANDARD.encode([7; 32])).unwrap();
    house.config.sensitive.key_file = Some(file);
    shop(
        &mut house.config,
        json!({ "unique": ["mail:text", "name:text"], "indexes": ["mail:text"] }),
        json!({
            "soft_delete": true, "keep_deleted": "1ms", "history": 5, "sensitive": ["secret"],
            "unique": ["name:text"], "indexes": ["n:number"],
            "rules": { "deleted": ["staff"], "sensitive": ["staff"] },
        }),
    );
    drop(house.bind_service("shop"));
    let names_it =
        |answer: &Answer| answer.json()["reason"].as_str().is_some_and(|text| text.contains("mail"));
    let health = house.get_until("shop", "/health", names_it).await;
    let reason = "the database refuses the request: records of a have the same mail already; \
        records of a have the same name already";
    assert_eq!((health.status.as_u16(), &health.json()["reason"]), (503, &json!(reason)));

    // Of the collection itself the rest is there, and of the other one everything.
    house.get_until("shop", "/shop/a?order=mail", |answer| answer.status == 200).await;
    house.get_until("shop", "/shop/z?order=n", |answer| answer.status == 200).await;
    let taken = send(&house, Method::POST, "/shop/z", r#"{"name": "kept"}"#).await;
    assert_eq!(taken.problem(), "not-unique");
    assert_eq!(send(&house, Method::PATCH, &kept, r#"{"n": 3}"#).await.status, 200);
    let history = send(&house, Method::GET, &format!("{kept}/history"), "").await.json();
    assert_eq!(history["items"].as_array().unwrap().len(), 1, "{history}");
    let clean = async {
        while stored(&house, "z").await.contains("plain")
            || stored(&house, "z.deleted").await.contains("gone")
        {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(90), clean).await.unwrap();

    // Once somebody has mended the records, the service is ready by itself.
    let listed = send(&house, Method::GET, "/shop/a", "").await.json();
    for (number, item) in listed["items"].as_array().unwrap().iter().enumerate() {
        let path = format!("/shop/a/{}", item["id"].as_str().unwrap());
        let patch = json!({ "mail": number.to_string(), "name": number.to_string() });
        assert_eq!(send(&house, Method::PATCH, &path, &patch.to_string()).await.status, 200);
    }
    house.until_ready("shop").await;
    house.stop().await;
}

/// SQLite fills an index too fast to be seen at it; what a service does meanwhile is the same.
async fn an_index_that_takes_long_keeps_nothing_else_of_the_service(engine: Engine) {
    let mut house = House::start(engine, |config| shop(config, json!({}), json!({}))).await;
    house.start_service("shop").await;
    let path = add(&house, "/shop/z", json!({ "n": 1 })).await;
    // As whoever makes an index for hours.
    let (maker, connection) =
        tokio_postgres::connect(&house.postgres_url(), tokio_postgres::NoTls).await.unwrap();
    let mut connections = JoinSet::new();
    connections.spawn(connection);
    let lock = "SELECT pg_advisory_lock(1399421030, hashtext(current_schema()))";
    maker.batch_execute(lock).await.unwrap();

    shop(&mut house.config, json!({ "indexes": ["n:number"] }), json!({ "history": 5, "cache_ttl": "60s" }));
    drop(house.bind_service("shop"));
    let is_made = |answer: &Answer| answer.json()["reason"] == "what its collections declare is being made";
    house.get_until("shop", "/health", is_made).await;
    let history = async {
        let mut n = 1;
        loop {
            n += 1;
            assert_eq!(send(&house, Method::PATCH, &path, &json!({ "n": n }).to_string()).await.status, 200);
            let history = send(&house, Method::GET, &format!("{path}/history"), "").await.json();
            if !history["items"].as_array().unwrap().is_empty() {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), history).await.unwrap();
    // What others write leaves the cache: changes are followed already.
    let id = path.rsplit('/').next().unwrap().to_owned();
    send(&house, Method::GET, &path, "").await;
    let data = serde_json::Map::from_iter([("n".to_owned(), json!(-1))]);
    let put = Operation::Put { collection: "z".into(), id, data, precondition: Precondition::None };
    house.database().transact(Transaction { namespace: "shop".into(), operations: vec![put] }).await.unwrap();
    house.get_until("shop", &path, |answer| answer.json()["n"] == -1).await;

    drop(maker);
    connections.join_next().await.unwrap().unwrap().unwrap();
    house.until_ready("shop").await;
    assert_eq!(send(&house, Method::GET, "/shop/a?order=n", "").await.status, 200);
    house.stop().await;
}

/// Made when it is first needed, it could not be once the disk is full, and listings would fail with it.
async fn the_key_of_cursors_is_there_before_it_is_needed(engine: Engine) {
    let mut house = House::start(engine, |config| shop(config, json!({}), json!({}))).await;
    house.start_service("shop").await;
    let query = Query::Get { collection: "_keys".into(), id: "cursors".into() };
    assert_eq!(house.database().query("shop", &query).await.unwrap().records.len(), 1);
    house.stop().await;
}
