//! Requests that happen once, and batches that happen whole.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

#[macro_use]
mod house;

use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};
use cache::Claim;
use database::job::JobFilter;
use house::{Answer, Engine, House};
use http::Method;
use serde_json::{Value, json};

on_both_engines! {
    a_request_sent_again_under_its_key_happens_once
    of_requests_at_once_one_happens_and_the_others_are_told_so
    a_request_under_way_at_another_instance_is_told_of
    the_same_request_at_two_instances_at_once_is_answered_alike_without_a_cache
    a_batch_happens_whole_and_its_reads_are_fresh
    a_batch_with_a_fault_does_nothing_and_points_at_it
    a_batch_under_a_key_happens_once
    a_batch_is_the_same_by_either_of_its_paths
}

const JSON: (&str, &str) = ("content-type", "application/json");
const PRODUCTS: &str = "/catalog/products";
const BATCH: &str = "/catalog/_batch";

async fn catalog(engine: Engine) -> House {
    let mut house = House::start(engine, |_| {}).await;
    house.start_service("catalog").await;
    house
}

async fn batch(house: &House, operations: Value) -> Answer {
    house.post("catalog", BATCH, &json!({ "operations": operations })).await
}

async fn count(house: &House) -> usize {
    house.get("catalog", PRODUCTS).await.json()["items"].as_array().unwrap().len()
}

async fn a_request_sent_again_under_its_key_happens_once(engine: Engine) {
    let mut house = House::start(engine, |_| {}).await;
    house.start_service("orders").await;
    let order = json!({"product_id": "p", "quantity": 1}).to_string();
    let send = async |key: &str, body: &str| {
        house.send("orders", Method::POST, "/orders/orders", &[JSON, ("idempotency-key", key)], body).await
    };
    let first = send("k", &order).await;
    assert_eq!(first.status, 201);
    for again in [send("k", &order).await, send("k", &order).await] {
        assert_eq!((again.status, &again.text), (first.status, &first.text));
        for field in ["etag", "location"] {
            assert_eq!(again.field(field), first.field(field));
        }
    }
    assert_eq!(house.database().jobs(&JobFilter::default()).await.unwrap().jobs.len(), 1);
    let other = send("k", &order.replace('1', "2")).await;
    assert_eq!((other.status.as_u16(), other.problem().as_str()), (422, "key-reused"));
    assert_eq!(send("", &order).await.status, 400);
    // What was refused did nothing, so its key is free.
    assert_eq!(send("l", "{}").await.status, 422);
    assert_eq!(send("l", &order).await.status, 201);

    // A change sent again is answered as it was, though the version it names is gone.
    let (path, tag) = (first.field("location").to_owned(), first.field("etag").to_owned());
    let fields = [JSON, ("idempotency-key", "m"), ("if-match", tag.as_str())];
    let put = async || house.send("orders", Method::PUT, &path, &fields, &order).await;
    let (changed, again) = (put().await, put().await);
    assert_eq!((changed.status.as_u16(), again.status.as_u16()), (200, 200), "{again:?}");
    assert_eq!((changed.field("etag"), &changed.text), (again.field("etag"), &again.text));
    let delete = async || house.send("orders", Method::DELETE, &path, &[("idempotency-key", "n")], "").await;
    assert_eq!((delete().await.status.as_u16(), delete().await.status.as_u16()), (204, 204));
    assert_eq!(house.send("orders", Method::DELETE, &path, &[], "").await.status, 404);
    house.stop().await;
}

async fn of_requests_at_once_one_happens_and_the_others_are_told_so(engine: Engine) {
    let house = catalog(engine).await;
    let send = async |n: usize| {
        let key = format!("k{}", n % 2);
        let fields = [JSON, ("idempotency-key", key.as_str())];
        let body = json!({"name": key, "price": 1}).to_string();
        (n % 2, house.send("catalog", Method::POST, PRODUCTS, &fields, &body).await)
    };
    let all = futures_util::future::join_all((0..40).map(send)).await;
    for key in 0..2 {
        let answers = all.iter().filter(|(of, _)| *of == key).map(|(_, answer)| answer);
        let (made, told): (Vec<_>, Vec<_>) = answers.partition(|answer| answer.status == 201);
        assert!(!made.is_empty() && made.iter().all(|answer| answer.text == made[0].text));
        for answer in told {
            assert_eq!((answer.status.as_u16(), answer.problem().as_str()), (409, "key-in-use"));
            assert_eq!(answer.field("retry-after"), "1");
        }
    }
    assert_eq!(count(&house).await, 2);
    house.stop().await;
}

async fn a_request_under_way_at_another_instance_is_told_of(engine: Engine) {
    let house = catalog(engine).await;
    // As another instance claims it: its caller, who has no name here, and its key, each preceded by its length.
    let mut hash = Context::new(&SHA256);
    for part in ["", "k"] {
        hash.update(&(part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    let hash: String = hash.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let cache = house.cache();
    let Claim::Mine(claimed) = cache.claim(&format!("catalog:{hash}"), Duration::from_secs(60)).await else {
        panic!("the cache is there")
    };
    let body = json!({"name": "a", "price": 1}).to_string();
    let fields = [JSON, ("idempotency-key", "k")];
    let send = async || house.send("catalog", Method::POST, PRODUCTS, &fields, &body).await;
    let told = send().await;
    assert_eq!((told.status.as_u16(), told.problem().as_str()), (409, "key-in-use"));
    cache.give_up(claimed).await;
    // A request that is refused gives its own claim up.
    let refused = house.send("catalog", Method::POST, PRODUCTS, &fields, "{}").await;
    assert_eq!(refused.status, 422);
    let first = send().await;
    assert_eq!(first.status, 201, "{first:?}");
    assert_eq!(send().await.text, first.text);
    house.stop().await;
}

async fn the_same_request_at_two_instances_at_once_is_answered_alike_without_a_cache(engine: Engine) {
    let mut house = House::start(engine, |_| {}).await;
    house.take_cache_away();
    house.start_service("catalog").await;
    house.rename_instance("catalog", "other");
    house.start_service("catalog").await;
    let house = house;
    for number in 0..40 {
        let made = house.post("catalog", PRODUCTS, &json!({"name": format!("{number}"), "price": 1})).await;
        let (path, tag) = (made.field("location"), made.field("etag"));
        let send = async |method: &Method, media_type: &str, tag: &str, body: &str| {
            let key = format!("{method}{media_type}{number}").replace('/', "-");
            let fields = [("content-type", media_type), ("idempotency-key", &key), ("if-match", tag)];
            let (one, two) = tokio::join!(
                house.send("catalog", method.clone(), path, &fields, body),
                house.send("other", method.clone(), path, &fields, body),
            );
            assert!(one.status.is_success(), "{one:?}, {two:?}");
            assert_eq!((one.status, &one.text), (two.status, &two.text));
        };
        let put = json!({"name": format!("{number}"), "price": 2}).to_string();
        send(&Method::PUT, JSON.1, tag, &put).await;
        let patch = json!([
            {"op": "test", "path": "/price", "value": 2}, {"op": "replace", "path": "/price", "value": 3}
        ]);
        send(&Method::PATCH, "application/json-patch+json", "*", &patch.to_string()).await;
        send(&Method::DELETE, "text/plain", "*", "").await;
    }
    house.stop().await;
}

async fn a_batch_happens_whole_and_its_reads_are_fresh(engine: Engine) {
    let house = catalog(engine).await;
    let lamp = |name: &str| json!({"name": name, "price": 1});
    let mut paths = Vec::new();
    for name in ["a", "b", "c"] {
        paths.push(house.post("catalog", PRODUCTS, &lamp(name)).await.field("location").to_owned());
    }
    let id = |place: usize| paths[place].rsplit('/').next().unwrap().to_owned();
    for path in &paths {
        house.get_until("catalog", path, |answer| answer.field("cache-status") == "sixfold; hit").await;
    }
    let tag = house.get("catalog", &paths[0]).await.field("etag").to_owned();
    let operations = json!([
        {"op": "replace", "collection": "products", "id": id(0), "data": lamp("A"), "if_match": tag},
        {"op": "patch", "collection": "products", "id": id(1), "data": {"price": 2}},
        {"op": "delete", "collection": "products", "id": id(2), "if_match": "*"},
        {"op": "create", "collection": "products", "data": lamp("d")},
        {"op": "create", "collection": "products", "id": "e", "data": lamp("e")},
    ]);
    let done = batch(&house, operations.clone()).await;
    assert_eq!(done.status, 200, "{done:?}");
    let results = done.json()["results"].clone();
    let statuses: Vec<_> =
        results.as_array().unwrap().iter().map(|result| result["status"].clone()).collect();
    assert_eq!(statuses, [200, 200, 204, 201, 201]);
    let read = house.get("catalog", &paths[0]).await;
    assert_eq!(
        (&read.json()["name"], read.field("etag")),
        (&json!("A"), results[0]["etag"].as_str().unwrap())
    );
    assert_eq!(house.get("catalog", &paths[1]).await.json()["price"], 2);
    assert_eq!(house.get("catalog", &paths[2]).await.status, 404);
    assert_eq!(house.get("catalog", &format!("{PRODUCTS}/e")).await.json(), results[4]["record"]);
    house.stop().await;
}

async fn a_batch_with_a_fault_does_nothing_and_points_at_it(engine: Engine) {
    let house = catalog(engine).await;
    let lamp = json!({"name": "a", "price": 1});
    house
        .send(
            "catalog",
            Method::PUT,
            &format!("{PRODUCTS}/a"),
            &[JSON, ("if-none-match", "*")],
            &lamp.to_string(),
        )
        .await;
    let create = |data: Value| json!({"op": "create", "collection": "products", "data": data});
    let cases = [
        (
            json!([create(lamp.clone()), create(json!({"name": 1, "price": 1}))]),
            422,
            "/operations/1/data/name",
        ),
        (
            json!([create(lamp.clone()), {"op": "create", "collection": "products", "id": "a", "data": lamp}]),
            409,
            "/operations/1",
        ),
        (
            json!([create(lamp.clone()), {"op": "patch", "collection": "products", "id": "a", "data": {}, "if_match": "\"0\""}]),
            409,
            "/operations/1/if_match",
        ),
        (
            json!([create(lamp.clone()), {"op": "delete", "collection": "products", "id": "x"}]),
            404,
            "/operations/1",
        ),
        (json!([create(lamp.clone()), {"op": "sing"}]), 422, "/operations/1"),
        (json!([{"op": "create", "collection": "things", "data": lamp}]), 422, "/operations/0/collection"),
        (json!([{"op": "delete", "collection": "products"}]), 422, "/operations/0/id"),
        (
            json!([{"op": "delete", "collection": "products", "id": "a"}, {"op": "delete", "collection": "products", "id": "a"}]),
            409,
            "/operations/1/id",
        ),
        (json!([{"op": "create", "collection": "products", "id": null, "data": lamp}]), 422, "/operations/0"),
        (json!([]), 422, "/operations"),
    ];
    for (operations, status, pointer) in cases {
        let refused = batch(&house, operations.clone()).await;
        assert_eq!(refused.status, status, "{operations}: {refused:?}");
        refused.problem();
        assert_eq!(refused.pointers(), [pointer], "{operations}");
        assert_eq!(count(&house).await, 1, "{operations}");
    }
    assert_eq!(house.post("catalog", BATCH, &json!([])).await.status, 422);
    assert_eq!(house.get("catalog", BATCH).await.status, 405);
    let body = json!({"operations": [create(lamp)]});
    assert_eq!(house.post("catalog", "/catalog:batch", &body).await.status, 200, "by its other name");
    house.stop().await;
}

async fn a_batch_under_a_key_happens_once(engine: Engine) {
    let house = catalog(engine).await;
    let create = json!({"op": "create", "collection": "products", "data": {"name": "a", "price": 1}});
    let body = json!({"operations": [create, create]}).to_string();
    let fields = [JSON, ("idempotency-key", "k")];
    let send = async || house.send("catalog", Method::POST, BATCH, &fields, &body).await;
    let (first, again) = (send().await, send().await);
    assert_eq!((first.status.as_u16(), &first.text), (200, &again.text));
    assert_eq!(count(&house).await, 2);
    house.stop().await;
}

async fn a_batch_is_the_same_by_either_of_its_paths(engine: Engine) {
    let house = catalog(engine).await;
    let body = json!({"operations": [{"op": "create", "collection": "products", "data": {"name": "a", "price": 1}}]});
    let fields = [JSON, ("idempotency-key", "k")];
    let send = async |path: &str| house.send("catalog", Method::POST, path, &fields, &body.to_string()).await;
    let (first, again) = (send(BATCH).await, send("/catalog:batch").await);
    assert_eq!((first.status.as_u16(), again.status.as_u16()), (200, 200), "{again:?}");
    assert_eq!((first.text, count(&house).await), (again.text, 1));
    house.stop().await;
}
