//! What the cache may answer: nothing that is older than an answered write.

use std::time::Duration;

use database::{Operation, Precondition, Transaction};
use http::Method;
use serde_json::{Map, Value, json};

use crate::house::{Answer, Engine, House};
use crate::{JSON, MERGE, catalog, create_lamp};

pub(super) async fn a_write_is_seen_by_every_read_after_its_answer(engine: Engine) {
    let house = catalog(engine).await;
    let path = create_lamp(&house).await.field("location").to_owned();
    for price in 0..20 {
        house.get("catalog", &path).await;
        let patch = json!({ "price": price }).to_string();
        let patched = house.send("catalog", Method::PATCH, &path, &[MERGE], &patch).await;
        assert_eq!(patched.status, 200);
        let read = house.get("catalog", &path).await;
        assert_eq!(read.json()["price"], price, "{read:?}");
        assert_eq!(read.field("etag"), patched.field("etag"));
    }
    house.stop().await;
}

pub(super) async fn who_missed_changes_does_not_believe_the_cache(engine: Engine) {
    let mut house = House::without_database(engine, |_| {});
    house.keep_few_changes();
    house.start_database().await;
    house.start_service("catalog").await;
    let path = create_lamp(&house).await.field("location").to_owned();
    let cached = |answer: &Answer| answer.field("cache-status").ends_with("; hit");
    house.get_until("catalog", &path, cached).await;
    for batch in 0..3 {
        let put = |number| Operation::Put {
            collection: "others".into(),
            id: format!("{batch} {number}"),
            data: Map::new(),
            precondition: Precondition::None,
        };
        let operations = (0..500).map(put).collect();
        let transaction = Transaction { namespace: "catalog".into(), operations };
        house.database().transact(transaction).await.unwrap();
    }
    while house.database().changes(Some("catalog"), 0, 1, Duration::ZERO).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // An instance that comes late: nobody tells it what changed before.
    house.start_service("catalog").await;
    let doubted = |answer: &Answer| answer.field("cache-status") == "sixfold; fwd=bypass";
    house.get_until("catalog", &path, doubted).await;
    house.stop().await;
}

pub(super) async fn what_a_worker_writes_leaves_the_cache_and_survives_a_client_s_change(engine: Engine) {
    let mut house = House::start(engine, |config| {
        let orders = config.services.get_mut("orders").unwrap().collections.get_mut("orders").unwrap();
        // So long that only an invalidation can end it within the test.
        orders.cache_ttl = std::time::Duration::from_secs(3600);
    })
    .await;
    house.start_service("orders").await;
    let created = house.post("orders", "/orders/orders", &json!({"product_id": "p1", "quantity": 2})).await;
    let (path, record) = (created.field("location").to_owned(), created.json());
    house.get_until("orders", &path, |answer| answer.field("cache-status") == "sixfold; hit").await;

    // Written as the worker writes it: straight into the database, past this service.
    let patch = Operation::Patch {
        collection: "orders".into(),
        id: record["id"].as_str().unwrap().into(),
        patch: Map::from_iter([("status".to_owned(), Value::from("confirmed"))]),
        precondition: Precondition::None,
    };
    let transaction = Transaction { namespace: "orders".into(), operations: vec![patch] };
    house.database().transact(transaction).await.unwrap();
    house.get_until("orders", &path, |answer| answer.json()["status"] == "confirmed").await;

    let body = r#"{"product_id": "p2", "quantity": 3}"#;
    let replaced = house.send("orders", Method::PUT, &path, &[JSON], body).await;
    assert_eq!(replaced.json()["status"], "confirmed", "{replaced:?}");
    let patched = house.send("orders", Method::PATCH, &path, &[MERGE], r#"{"note": "x"}"#).await;
    assert_eq!(patched.json()["status"], "confirmed", "{patched:?}");
    let patched = house.send("orders", Method::PATCH, &path, &[MERGE], r#"{"status": "x"}"#).await;
    assert_eq!(patched.pointers(), ["/status"]);
    house.stop().await;
}
