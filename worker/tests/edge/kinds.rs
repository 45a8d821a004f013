//! The built-in kinds against a real database and real services.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::IntoResponse;
use cache::{Cache, Found};
use database::{Operation, Outcome, Precondition, Query, Transaction};
use http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use process::http::{Limits, serve};
use process::{Bound, ClusterToken, Health, Listening, Services, Shutdown, listen};
use serde_json::{Map, Value, json};
use worker::Config;

use crate::house::{GRACE, House, Worker, id_of, quick};

/// How long a test's cache entry would live.
const TTL: Duration = Duration::from_secs(600);

const COLORS: [&str; 3] = ["red", "green", "blue"];

/// A worker with the built-in kinds, no cache server and no services.
pub(crate) fn worker_with_kinds(house: &mut House, config: &Config) -> Worker {
    let cache = cache_at(house);
    start(house, config, &services(json!({})), cache)
}

fn start(house: &mut House, config: &Config, services: &Services, cache: Cache) -> Worker {
    let database = house.database.clone();
    let bound = worker::bind(config, services, database, cache, &ClusterToken::default()).unwrap();
    house.run_worker(bound)
}

fn services(directory: Value) -> Services {
    serde_json::from_value(directory).unwrap()
}

/// Starts a cache role; gives a client of it.
fn cache_at(house: &mut House) -> Cache {
    let token = ClusterToken::default();
    let mut config = cache::Config {
        listen: "127.0.0.1:0".into(),
        resp_listen: "127.0.0.1:0".into(),
        ..cache::Config::default()
    };
    let bound = cache::bind(&config, &token).unwrap();
    let resp = bound.listening.iter().find(|place| place.protocol == "resp").unwrap().address;
    house.spawn(bound, Shutdown::new(GRACE));
    config.resp_listen = resp.to_string();
    Cache::connect(&config, &token)
}

fn object(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

fn put(collection: &str, id: &str, data: Value) -> Operation {
    Operation::Put {
        collection: collection.into(),
        id: id.into(),
        data: object(data),
        precondition: Precondition::None,
    }
}

#[tokio::test]
async fn a_report_counts_and_sums_a_collection_of_several_pages() {
    let mut house = House::start().await;
    let worker = worker_with_kinds(&mut house, &quick());
    let records: Vec<Operation> = (0..2500)
        .map(|n| {
            let data = json!({"name": format!("product {n}"), "color": COLORS[n % 3], "price": n});
            put("products", &format!("{n:04}"), data)
        })
        .collect();
    for operations in records.chunks(1000) {
        let transaction = Transaction { namespace: "catalog".into(), operations: operations.to_vec() };
        house.database.transact(transaction).await.unwrap();
    }
    let payload =
        json!({"service": "catalog", "collection": "products", "group_by": "color", "sum": "price"});
    let job = worker.enqueue("reports", &json!({"kind": "report", "payload": payload})).await;
    let ended = worker.final_job(&id_of(&job)).await;
    assert_eq!(ended["state"], "succeeded", "{ended}");
    let sum_of = |color: usize| (0..2500).filter(|n| n % 3 == color).sum::<usize>();
    assert_eq!(
        ended["result"],
        json!({
            "service": "catalog", "collection": "products", "group_by": "color",
            "count": 2500, "sum": (0..2500).sum::<usize>(), "skipped": 0,
            "groups": [
                {"key": "red", "count": 834, "sum": sum_of(0), "skipped": 0},
                {"key": "blue", "count": 833, "sum": sum_of(2), "skipped": 0},
                {"key": "green", "count": 833, "sum": sum_of(1), "skipped": 0},
            ],
        })
    );
}

#[tokio::test]
async fn confirming_an_order_changes_it_once_and_the_cache_forgets_the_old_one() {
    let mut house = House::start().await;
    let cache = cache_at(&mut house);
    let worker = start(&mut house, &quick(), &services(json!({})), cache.clone());
    let order = put("orders", "7", json!({"product_id": "p", "quantity": 2, "status": "pending"}));
    house
        .database
        .transact(Transaction { namespace: "orders".into(), operations: vec![order] })
        .await
        .unwrap();
    let key = cache::record_key("orders", "orders", "7");
    let Found::Miss(fill) = cache.read(&key).await else { panic!("the cache is empty") };
    cache.fill(fill, "old".into(), TTL).await;
    assert_eq!(cache.read(&key).await, Found::Hit("old".into()));

    let payload = json!({"namespace": "orders", "collection": "orders", "id": "7"});
    let job = json!({"kind": "order.confirm", "payload": payload});
    let first = worker.final_job(&id_of(&worker.enqueue("orders", &job).await)).await;
    assert_eq!(first["result"]["status"], "confirmed", "{first}");
    assert!(matches!(cache.read(&key).await, Found::Miss(_)), "the old order is still cached");
    let query = Query::Get { collection: "orders".into(), id: "7".into() };
    let stored = house.database.query("orders", &query).await.unwrap().records.remove(0);
    assert_eq!((&stored.data["status"], &stored.data["quantity"]), (&json!("confirmed"), &json!(2)));

    let again = worker.final_job(&id_of(&worker.enqueue("orders", &job).await)).await;
    assert_eq!(again["state"], "succeeded");
    let same = house.database.query("orders", &query).await.unwrap().records.remove(0);
    assert_eq!(same.version, stored.version, "a repeat writes nothing");

    let gone = json!({"namespace": "orders", "collection": "orders", "id": "8"});
    let job = json!({"kind": "order.confirm", "payload": gone});
    let ended = worker.final_job(&id_of(&worker.enqueue("orders", &job).await)).await;
    assert_eq!(ended["result"]["note"], "the order is gone");
}

#[tokio::test]
async fn a_job_enqueued_with_its_record_runs() {
    let mut house = House::start().await;
    let worker = worker_with_kinds(&mut house, &quick());
    let payload = json!({"namespace": "orders", "collection": "orders", "id": "1"});
    let job = database::NewJob::new("orders", "order.confirm", payload);
    let operations = vec![put("orders", "1", json!({"status": "pending"})), Operation::Enqueue { job }];
    let committed =
        house.database.transact(Transaction { namespace: "orders".into(), operations }).await.unwrap();
    let Some(Outcome::Enqueued { job }) = committed.outcomes.last() else { panic!("{committed:?}") };
    assert_eq!(worker.final_job(&job.id).await["result"]["status"], "confirmed");
}

/// A status and a `Retry-After`.
type Planned = (u16, Option<&'static str>);

/// What a small service was sent, and what it answers next; 200 when nothing is planned.
#[derive(Clone, Default)]
struct Shop {
    seen: Arc<Mutex<Vec<(String, HeaderMap, String)>>>,
    planned: Arc<Mutex<Vec<Planned>>>,
}

async fn answer(State(shop): State<Shop>, request: Request) -> impl IntoResponse {
    let (head, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let line = format!("{} {}", head.method, head.uri);
    shop.seen.lock().unwrap().push((line, head.headers, String::from_utf8_lossy(&body).into_owned()));
    let mut planned = shop.planned.lock().unwrap();
    let (status, retry_after) = if planned.is_empty() { (200, None) } else { planned.remove(0) };
    let mut fields = HeaderMap::new();
    if let Some(value) = retry_after {
        fields.insert("retry-after", value.parse().unwrap());
    }
    (StatusCode::from_u16(status).unwrap(), fields, r#"{"taken":true}"#)
}

/// Starts a small service; gives it and its address.
fn shop(house: &mut House) -> (Shop, String) {
    let shop = Shop::default();
    let listener = listen::bind_public("shop", "127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new().fallback(answer).with_state(shop.clone());
    let run = async move |shutdown: Shutdown| {
        serve(listener, router, &shutdown, Limits::default()).await;
        Ok(())
    };
    let listening = vec![Listening { protocol: "http", address }];
    house.spawn(Bound::new(listening, "shop", Health::new("shop"), run), Shutdown::new(GRACE));
    (shop, address.to_string())
}

#[tokio::test]
async fn a_delivery_is_repeated_when_the_service_says_and_names_its_job() {
    let mut house = House::start().await;
    let (shop, address) = shop(&mut house);
    // The first instance is down, which costs no attempt.
    let services = services(json!({"shop": {"instances": ["127.0.0.1:1", address]}}));
    let cache = cache_at(&mut house);
    let worker = start(&mut house, &quick(), &services, cache);
    shop.planned.lock().unwrap().extend([(503, Some("1")), (500, None)]);
    let payload =
        json!({"service": "shop", "path": "/buy?n=1", "headers": {"x-shop": "yes"}, "body": {"n": 1}});
    let job = worker.enqueue("default", &json!({"kind": "http", "payload": payload})).await;
    let ended = worker.final_job(&id_of(&job)).await;
    assert_eq!((&ended["state"], &ended["attempt"]), (&json!("succeeded"), &json!(3)), "{ended}");
    assert_eq!(ended["result"], json!({"status": 200, "body": {"taken": true}}));
    let time = |name: &str| ended[name].as_str().unwrap().parse::<Timestamp>().unwrap();
    let took = time("updated_at").duration_since(time("created_at"));
    assert!(took.as_millis() >= 1000, "Retry-After was one second, all took {took:?}");
    let seen = shop.seen.lock().unwrap();
    for (line, fields, body) in seen.iter() {
        assert_eq!((line.as_str(), body.as_str()), ("POST /buy?n=1", r#"{"n":1}"#));
        assert_eq!(fields["idempotency-key"], id_of(&job).as_str());
        assert_eq!(fields["x-shop"], "yes");
        assert_eq!(fields["content-type"], "application/json");
        assert!(fields["traceparent"].to_str().unwrap().contains(ended["trace_id"].as_str().unwrap()));
    }
    assert_eq!(seen.len(), 3);
}

#[tokio::test]
async fn a_delivery_the_service_refuses_is_not_repeated() {
    let mut house = House::start().await;
    let (shop, address) = shop(&mut house);
    let services = services(json!({"shop": {"instances": [address]}}));
    let cache = cache_at(&mut house);
    let worker = start(&mut house, &quick(), &services, cache);
    shop.planned.lock().unwrap().push((404, None));
    let payload = json!({"service": "shop", "method": "PUT", "path": "/gone"});
    let job = worker.enqueue("default", &json!({"kind": "http", "payload": payload})).await;
    let dead = worker.final_job(&id_of(&job)).await;
    assert_eq!((&dead["state"], &dead["attempt"]), (&json!("dead"), &json!(1)));
    assert_eq!(dead["error"], "shop answered 404");
}

#[tokio::test]
async fn only_a_service_of_the_house_is_told_the_user_and_the_token() {
    let mut house = House::start().await;
    let (inside, inside_address) = shop(&mut house);
    let (outside, outside_address) = shop(&mut house);
    let services = services(json!({
        "inside": {"instances": [inside_address], "internal": true},
        "outside": {"instances": [outside_address]},
    }));
    let token = ClusterToken::new(Some(process::Secret::new("right")));
    let cache = cache_at(&mut house);
    let bound = worker::bind(&quick(), &services, house.database.clone(), cache, &token).unwrap();
    let worker = house.run_worker(bound);
    let fields = [("sixfold-token", "right"), ("sixfold-subject", "ada"), ("sixfold-roles", "user")];
    for service in ["inside", "outside"] {
        let job = json!({"kind": "http", "payload": {"service": service, "path": "/"}}).to_string();
        let answer = worker.send(http::Method::POST, "/queues/default/jobs", &fields, &job).await;
        let path = format!("/jobs/{}?wait=20s", id_of(&crate::house::json_of(&answer)));
        let ended = worker.send(http::Method::GET, &path, &fields, "").await;
        assert_eq!(crate::house::json_of(&ended)["state"], "succeeded");
    }
    let (_, told, _) = inside.seen.lock().unwrap().remove(0);
    assert_eq!(told["sixfold-subject"], "ada");
    assert_eq!(told["sixfold-token"], "right");
    let (_, told, _) = outside.seen.lock().unwrap().remove(0);
    assert!(told.keys().all(|name| !name.as_str().starts_with("sixfold-")), "{told:?}");
}
