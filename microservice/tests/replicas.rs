//! What clients allow by `max-stale`, with a real standby whose replay stands still.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod house;

use std::time::{Duration, Instant};

use house::{Answer, Engine, House};
use http::Method;
use serde_json::{Value, json};
use system_tests::postgres::Server;

const PRODUCTS: &str = "/catalog/products";
const STALE: (&str, &str) = ("cache-control", "max-stale");

async fn get(house: &House, path: &str, fields: &[(&str, &str)]) -> Answer {
    house.send("catalog", Method::GET, path, fields, "").await
}

/// The names in a listing.
fn names(answer: &Answer) -> Vec<Value> {
    answer.json()["items"].as_array().unwrap().iter().map(|item| item["name"].clone()).collect()
}

/// Lists until a replica answers with what there is.
async fn until_replica_has(house: &House, name: &str) {
    let began = Instant::now();
    loop {
        let page = get(house, PRODUCTS, &[STALE]).await;
        if page.fields.contains_key("age") && names(&page) == [name] {
            return;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "the replica does not answer: {page:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_allows_staleness_gets_the_replicas_answer_and_nobody_else_does() {
    let primary = Server::start_in_memory();
    let standby = primary.start_standby();
    let mut house = House::without_database(Engine::Sqlite, |config| {
        let products = config.services.get_mut("catalog").unwrap().collections.get_mut("products").unwrap();
        products.history = 5;
    });
    house.stand_on(&primary, &standby);
    house.start_database().await;
    house.start_service("catalog").await;
    let made = house.post("catalog", PRODUCTS, &json!({"name": "Lamp", "price": 20})).await;
    assert_eq!(made.status, 201, "{made:?}");
    let (path, lamp) = (made.field("location").to_owned(), made.field("etag").to_owned());
    until_replica_has(&house, "Lamp").await;

    standby.ask("SELECT pg_wal_replay_pause()");
    // Behind the service's back, so that nothing is invalidated and no tombstone keeps the stale one out of the cache.
    primary.ask(
        "UPDATE sixfold.records SET version = version + 1, data = data || '{\"name\": \"Desk\"}' \
         WHERE collection = 'products'",
    );
    for _ in 0..2 {
        let stale = get(&house, &path, &[STALE]).await;
        assert_eq!((stale.status.as_u16(), stale.json()["name"].clone()), (200, json!("Lamp")));
        assert_eq!(stale.field("etag"), lamp);
        assert!(stale.field("age").parse::<u64>().unwrap() < 600, "{stale:?}");
        assert!(stale.field("cache-status").contains("detail=replica"), "{stale:?}");
    }
    let unchanged = get(&house, &path, &[STALE, ("if-none-match", &lamp)]).await;
    assert_eq!(unchanged.status, 304);
    assert!(unchanged.fields.contains_key("age"), "{unchanged:?}");
    let missing = get(&house, "/catalog/products/none", &[STALE]).await;
    assert_eq!(missing.problem(), "not-found");
    assert!(missing.fields.contains_key("age"), "{missing:?}");
    let exported = get(&house, PRODUCTS, &[STALE, ("accept", "application/x-ndjson")]).await;
    assert_eq!(exported.json()["name"], "Lamp");
    assert!(exported.fields.contains_key("age"), "{exported:?}");

    // Without a word, with a word that allows none, and where a version is named, it is what is durable now.
    let none =
        [("cache-control", "max-stale=0"), ("cache-control", "max-stale, no-cache"), ("accept", "*/*")];
    for field in none {
        let page = get(&house, PRODUCTS, &[field]).await;
        assert_eq!((names(&page), page.field("age")), (vec![json!("Desk")], ""), "{field:?}");
    }
    assert_eq!(get(&house, &path, &[STALE, ("if-match", &lamp)]).await.problem(), "precondition-failed");
    let fresh = get(&house, &path, &[]).await;
    assert_eq!((fresh.json()["name"].clone(), fresh.field("age")), (json!("Desk"), ""));
    // What the cache has by now is fresh, whoever asks.
    let cached = get(&house, &path, &[STALE]).await;
    assert_eq!(
        (cached.json()["name"].clone(), cached.field("cache-status")),
        (json!("Desk"), "sixfold; hit")
    );

    // A change is decided by what is there, whatever it says of staleness.
    let patch = [("content-type", "application/merge-patch+json"), STALE, ("if-match", fresh.field("etag"))];
    let changed = house.send("catalog", Method::PATCH, &path, &patch, r#"{"price": 30}"#).await;
    assert_eq!((changed.status.as_u16(), changed.field("age")), (200, ""), "{changed:?}");
    assert_eq!(changed.json()["name"], "Desk");
    let history = format!("{path}/history");
    assert_eq!(get(&house, &history, &[STALE]).await.json()["items"], json!([]));
    assert_eq!(get(&house, &history, &[]).await.json()["items"].as_array().unwrap().len(), 1);

    standby.ask("SELECT pg_wal_replay_resume()");
    until_replica_has(&house, "Desk").await;
    house.stop().await;
}
