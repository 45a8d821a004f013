//! Collections at the edge: a real service over a real database and a real cache.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

#[macro_use]
mod house;

use std::time::Duration;

use database::job::JobFilter;
use database::{Operation, Precondition, Transaction};
use house::{Answer, Engine, House};
use http::Method;
use serde_json::{Map, Value, json};

on_both_engines! {
    a_service_describes_the_fields_that_say_when_and_how_often
    a_created_record_is_found_read_from_the_cache_and_gone_after_deletion
    a_write_is_seen_by_every_read_after_its_answer
    a_condition_saves_a_transfer_and_stops_a_lost_update
    a_put_makes_a_record_at_a_chosen_name_only_when_asked_to
    patches_that_race_are_all_applied
    a_json_patch_changes_a_record_whole_or_not_at_all
    a_listing_is_walked_page_by_page
    what_is_wrong_with_a_request_is_said
    a_parameter_that_means_nothing_is_refused_wherever_it_stands
    a_name_that_no_path_can_end_in_is_refused
    an_order_and_the_job_that_confirms_it_come_together
    who_missed_changes_does_not_believe_the_cache
    what_a_worker_writes_leaves_the_cache_and_survives_a_client_s_change
    a_collection_may_demand_the_version_and_go_without_a_cache
    the_schemas_are_published_for_the_gateways
    without_a_database_a_service_is_degraded_and_says_so_until_it_is_there
    with_a_cluster_token_only_health_answers_without_it
}

const JSON: (&str, &str) = ("content-type", "application/json");
const MERGE: (&str, &str) = ("content-type", "application/merge-patch+json");

async fn a_service_describes_the_fields_that_say_when_and_how_often(engine: Engine) {
    let mut house = House::start(engine, |_| {}).await;
    house.start_service("catalog").await;
    let document = house.get("catalog", "/openapi.json").await.json();
    let declared = |path: &str, method: &str| {
        let operation = &document["paths"][path][method];
        let mut names = Vec::new();
        for parameter in operation["parameters"].as_array().unwrap() {
            if parameter["in"] == "header" {
                let schema = &parameter["schema"];
                assert!(schema["pattern"].is_string() || schema["anyOf"].is_array(), "{parameter}");
                names.push(parameter["name"].as_str().unwrap().to_owned());
            }
        }
        for status in ["409", "412", "422", "428"] {
            assert!(operation["responses"][status].is_object(), "{method} {path} {status}");
        }
        names.sort();
        names
    };
    let (whole, one) = ("/catalog/products", "/catalog/products/{id}");
    assert_eq!(declared(whole, "post"), ["Idempotency-Key"]);
    assert_eq!(declared(one, "get"), ["If-None-Match"]);
    assert_eq!(declared(one, "put"), ["Idempotency-Key", "If-Match", "If-None-Match"]);
    assert_eq!(declared(one, "patch"), ["Idempotency-Key", "If-Match"]);
    assert_eq!(declared(one, "delete"), ["Idempotency-Key", "If-Match"]);
    assert_eq!(declared("/catalog/_batch", "post"), ["Idempotency-Key"]);
    house.stop().await;
}

async fn catalog(engine: Engine) -> House {
    let mut house = House::start(engine, |_| {}).await;
    house.start_service("catalog").await;
    house
}

async fn create_lamp(house: &House) -> Answer {
    house.post("catalog", "/catalog/products", &json!({"name": "Lamp", "price": 19.5})).await
}

async fn a_created_record_is_found_read_from_the_cache_and_gone_after_deletion(engine: Engine) {
    let house = catalog(engine).await;
    let created = create_lamp(&house).await;
    assert_eq!(created.status, 201, "{created:?}");
    let record = created.json();
    let path = format!("/catalog/products/{}", record["id"].as_str().unwrap());
    assert_eq!(created.field("location"), path);
    assert_eq!((&record["name"], &record["price"]), (&json!("Lamp"), &json!(19.5)));
    record["created_at"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();

    let first = house.get("catalog", &path).await;
    assert_eq!(first.status, 200);
    assert_eq!(first.field("cache-status"), "sixfold; fwd=uri-miss");
    let second = house.get("catalog", &path).await;
    assert_eq!(second.field("cache-status"), "sixfold; hit");
    for answer in [&first, &second] {
        assert_eq!(answer.json(), record);
        assert_eq!(answer.field("etag"), created.field("etag"));
        assert_eq!(answer.field("content-type"), "application/json");
    }

    let head = house.send("catalog", Method::HEAD, &path, &[], "").await;
    assert_eq!((head.status.as_u16(), head.text.len()), (200, 0));
    assert_eq!(head.field("content-length"), second.text.len().to_string());

    let deleted = house.send("catalog", Method::DELETE, &path, &[], "").await;
    assert_eq!(deleted.status, 204);
    assert_eq!(house.get("catalog", &path).await.problem(), "not-found");
    assert_eq!(house.send("catalog", Method::DELETE, &path, &[], "").await.status, 404);
    house.stop().await;
}

async fn a_write_is_seen_by_every_read_after_its_answer(engine: Engine) {
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

async fn a_condition_saves_a_transfer_and_stops_a_lost_update(engine: Engine) {
    let house = catalog(engine).await;
    let created = create_lamp(&house).await;
    let (path, tag) = (created.field("location").to_owned(), created.field("etag").to_owned());
    let with = |name| [JSON, (name, tag.as_str())];

    let fresh = house.send("catalog", Method::GET, &path, &[("if-none-match", &tag)], "").await;
    assert_eq!((fresh.status.as_u16(), fresh.text.len()), (304, 0));
    assert_eq!(fresh.field("etag"), tag);

    let body = r#"{"name": "Lamp", "price": 20}"#;
    let replaced = house.send("catalog", Method::PUT, &path, &with("if-match"), body).await;
    assert_eq!(replaced.status, 200, "{replaced:?}");
    assert_ne!(replaced.field("etag"), tag);
    let stale = house.send("catalog", Method::PUT, &path, &with("if-match"), body).await;
    assert_eq!((stale.status.as_u16(), stale.problem().as_str()), (412, "precondition-failed"));
    let merge = [MERGE, ("if-match", tag.as_str())];
    assert_eq!(house.send("catalog", Method::PATCH, &path, &merge, "{}").await.status, 412);
    let deleted = house.send("catalog", Method::DELETE, &path, &with("if-match"), "").await;
    assert_eq!(deleted.status, 412);
    assert_eq!(house.get("catalog", &path).await.json()["price"], 20);
    let malformed = house.send("catalog", Method::GET, &path, &[("if-match", "7")], "").await;
    assert_eq!(malformed.status, 400);
    house.stop().await;
}

async fn a_put_makes_a_record_at_a_chosen_name_only_when_asked_to(engine: Engine) {
    let house = catalog(engine).await;
    let (path, body) = ("/catalog/products/lamp-1", r#"{"name": "Lamp", "price": 20}"#);
    assert_eq!(house.send("catalog", Method::PUT, path, &[JSON], body).await.status, 404);
    let absent = [JSON, ("if-none-match", "*")];
    for tag in ["*", "\"7\""] {
        let both = [JSON, absent[1], ("if-match", tag)];
        assert_eq!(house.send("catalog", Method::PUT, path, &both, body).await.status, 412, "{tag}");
    }
    let made = house.send("catalog", Method::PUT, path, &absent, body).await;
    assert_eq!((made.status.as_u16(), made.field("location")), (201, path));
    assert_eq!(house.send("catalog", Method::PUT, path, &absent, body).await.status, 412);
    assert_eq!(house.send("catalog", Method::PUT, path, &[JSON], body).await.status, 200);
    let odd = "/catalog/products/a%2Fb";
    assert_eq!(house.send("catalog", Method::PUT, odd, &absent, body).await.status, 404);
    house.stop().await;
}

async fn patches_that_race_are_all_applied(engine: Engine) {
    let house = catalog(engine).await;
    let path = create_lamp(&house).await.field("location").to_owned();
    let fields = ["a", "b", "c", "d"];
    let bodies = fields.map(|name| json!({ name: 1, "description": null }).to_string());
    let patch = |body: &'_ str| {
        let (house, path, body) = (&house, path.clone(), body.to_owned());
        async move { house.send("catalog", Method::PATCH, &path, &[MERGE], &body).await.status.as_u16() }
    };
    let [a, b, c, d] = &bodies;
    let statuses = tokio::join!(patch(a), patch(b), patch(c), patch(d));
    assert_eq!(statuses, (200, 200, 200, 200));
    let record = house.get("catalog", &path).await.json();
    assert!(fields.iter().all(|name| record[name] == 1), "{record}");
    house.stop().await;
}

async fn a_json_patch_changes_a_record_whole_or_not_at_all(engine: Engine) {
    let house = catalog(engine).await;
    let created = create_lamp(&house).await;
    let (path, tag, id) = (created.field("location"), created.field("etag"), created.json()["id"].clone());
    let patch = async |patch: Value, fields: &[(&str, &str)]| {
        let fields = [&[("content-type", "application/json-patch+json")], fields].concat();
        house.send("catalog", Method::PATCH, path, &fields, &patch.to_string()).await
    };
    let changed = patch(
        json!([
            {"op": "test", "path": "/id", "value": id},
            {"op": "test", "path": "/price", "value": 19.5},
            {"op": "add", "path": "/tags", "value": ["a"]},
            {"op": "copy", "from": "/tags/0", "path": "/tags/-"},
            {"op": "replace", "path": "/tags/1", "value": "b"},
        ]),
        &[("if-match", tag)],
    )
    .await;
    assert_eq!((changed.status.as_u16(), &changed.json()["tags"]), (200, &json!(["a", "b"])), "{changed:?}");
    assert_ne!(changed.field("etag"), tag);
    assert_eq!(patch(json!([]), &[("if-match", tag)]).await.status, 412);

    let failed =
        patch(json!([{"op": "remove", "path": "/tags"}, {"op": "test", "path": "/price", "value": 1}]), &[])
            .await;
    assert_eq!(
        (failed.status.as_u16(), failed.problem().as_str(), failed.pointers()),
        (409, "conflict", vec!["/1".to_owned()])
    );
    let missing = patch(json!([{"op": "remove", "path": "/nothing"}]), &[]).await;
    assert_eq!((missing.status.as_u16(), missing.pointers()), (409, vec!["/0".to_owned()]));
    let malformed = patch(json!([{"op": "sing"}]), &[]).await;
    assert_eq!((malformed.status.as_u16(), malformed.pointers()), (422, vec!["/0".to_owned()]));
    let twice = r#"[{"op": "test", "path": "/price", "value": 0, "op": "remove", "path": "/tags"}]"#;
    let json_patch = [("content-type", "application/json-patch+json")];
    let refused = house.send("catalog", Method::PATCH, path, &json_patch, twice).await;
    assert_eq!((refused.status.as_u16(), refused.pointers()), (422, vec!["/0".to_owned()]), "{refused:?}");
    let owned = patch(json!([{"op": "replace", "path": "/id", "value": "mine"}]), &[]).await;
    assert_eq!((owned.status.as_u16(), owned.pointers()), (422, vec!["/id".to_owned()]));
    let invalid = patch(json!([{"op": "remove", "path": "/name"}]), &[]).await;
    assert_eq!((invalid.status.as_u16(), invalid.pointers()), (422, vec!["/name".to_owned()]));
    let whole = patch(json!([{"op": "replace", "path": "", "value": 7}]), &[]).await;
    assert_eq!(whole.status, 422);
    let read = house.get("catalog", path).await;
    assert_eq!((read.json(), read.field("etag")), (changed.json(), changed.field("etag")));
    house.stop().await;
}

async fn a_listing_is_walked_page_by_page(engine: Engine) {
    let house = catalog(engine).await;
    let mut made = Vec::new();
    for _ in 0..5 {
        made.push(create_lamp(&house).await.json()["id"].clone());
    }
    let mut path = "/catalog/products?limit=2".to_owned();
    let (mut found, mut pages) = (Vec::new(), 0);
    loop {
        let page = house.get("catalog", &path).await;
        assert_eq!(page.status, 200, "{page:?}");
        pages += 1;
        let listing = page.json();
        found.extend(listing["items"].as_array().unwrap().iter().map(|item| item["id"].clone()));
        let Some(next) = listing["next"].as_str() else {
            assert_eq!(page.field("link"), "");
            break;
        };
        path = format!("/catalog/products?limit=2&cursor={next}");
        assert_eq!(page.field("link"), format!("<{path}>; rel=\"next\""));
    }
    assert_eq!((found, pages), (made, 3), "in the order they were made");
    for (cursor, status, kind) in
        [("x", 409, "stale-cursor"), ("%2Fx", 400, "malformed-request"), ("", 400, "malformed-request")]
    {
        let refused = house.get("catalog", &format!("/catalog/products?cursor={cursor}")).await;
        assert_eq!((refused.status.as_u16(), refused.problem().as_str()), (status, kind), "{cursor}");
    }
    house.stop().await;
}

async fn what_is_wrong_with_a_request_is_said(engine: Engine) {
    let house = catalog(engine).await;
    let send = async |method, path, fields: &[(&str, &str)], body: &str| {
        house.send("catalog", method, path, fields, body).await
    };
    let products = "/catalog/products";
    let invalid = send(Method::POST, products, &[JSON], r#"{"price": -1, "id": "mine"}"#).await;
    assert_eq!((invalid.status.as_u16(), invalid.problem().as_str()), (422, "invalid-body"));
    assert_eq!(invalid.pointers(), ["/id", "/name", "/price"]);
    assert_eq!(send(Method::POST, products, &[JSON], "{").await.problem(), "malformed-request");
    let form = [("content-type", "application/x-www-form-urlencoded")];
    assert_eq!(send(Method::POST, products, &form, "name=Lamp").await.problem(), "unsupported-media-type");
    let large = json!({ "name": "Lamp", "price": 1, "text": "x".repeat(300_000) }).to_string();
    assert_eq!(send(Method::POST, products, &[JSON], &large).await.problem(), "body-too-large");

    let not_allowed = send(Method::DELETE, products, &[], "").await;
    assert_eq!((not_allowed.status.as_u16(), not_allowed.problem().as_str()), (405, "method-not-allowed"));
    assert_eq!(not_allowed.field("allow"), "GET, HEAD, POST, OPTIONS");
    let options = send(Method::OPTIONS, "/catalog/products/x", &[], "").await;
    assert_eq!(options.field("allow"), "GET, HEAD, PUT, PATCH, DELETE, OPTIONS");
    assert_eq!(send(Method::GET, "/catalog/things", &[], "").await.problem(), "not-found");
    assert_eq!(send(Method::GET, "/", &[], "").await.problem(), "not-found");

    let lamp = create_lamp(&house).await.field("location").to_owned();
    let patch = send(Method::PATCH, &lamp, &[JSON], "{}").await;
    assert_eq!(
        (patch.status.as_u16(), patch.field("accept-patch")),
        (415, "application/merge-patch+json, application/json-patch+json")
    );
    let patch = send(Method::PATCH, &lamp, &[MERGE], r#"{"name": null}"#).await;
    assert_eq!(patch.pointers(), ["/name"], "the record must be valid after the patch");
    assert_eq!(send(Method::PATCH, &lamp, &[MERGE], "[]").await.status, 422);
    house.stop().await;
}

async fn an_order_and_the_job_that_confirms_it_come_together(engine: Engine) {
    let mut house = House::start(engine, |_| {}).await;
    house.start_service("orders").await;
    let order = json!({"product_id": "p1", "quantity": 2});
    let created = house.post("orders", "/orders/orders", &order).await;
    assert_eq!(created.status, 201, "{created:?}");
    let record = created.json();
    assert_eq!(record["status"], "pending");
    let jobs = house.database().jobs(&JobFilter::default()).await.unwrap().jobs;
    assert_eq!(jobs.len(), 1);
    assert_eq!((jobs[0].queue.as_str(), jobs[0].kind.as_str()), ("orders", "order.confirm"));
    let payload = json!({"namespace": "orders", "collection": "orders", "id": record["id"]});
    assert_eq!(jobs[0].payload, payload);
    let trace = jobs[0].traceparent.as_deref().unwrap();
    assert!(trace.contains(created.field("x-request-id")), "the job continues the request's trace");

    let mut with_status = order.clone();
    with_status["status"] = json!("confirmed");
    let refused = house.post("orders", "/orders/orders", &with_status).await;
    assert_eq!((refused.status.as_u16(), refused.pointers()), (422, vec!["/status".to_owned()]));
    let invalid = house.post("orders", "/orders/orders", &json!({"product_id": "p1"})).await;
    assert_eq!(invalid.pointers(), ["/quantity"]);
    let jobs = house.database().jobs(&JobFilter::default()).await.unwrap().jobs;
    assert_eq!(jobs.len(), 1, "a refused order causes no job");
    house.stop().await;
}

async fn what_a_worker_writes_leaves_the_cache_and_survives_a_client_s_change(engine: Engine) {
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

async fn a_collection_may_demand_the_version_and_go_without_a_cache(engine: Engine) {
    let mut house = House::start(engine, |config| {
        let products = config.services.get_mut("catalog").unwrap().collections.get_mut("products").unwrap();
        products.require_if_match = true;
        products.cache_ttl = std::time::Duration::ZERO;
    })
    .await;
    house.start_service("catalog").await;
    let created = create_lamp(&house).await;
    let (path, tag) = (created.field("location").to_owned(), created.field("etag").to_owned());
    for (method, field, body) in [
        (Method::PUT, JSON, r#"{"name": "a", "price": 1}"#),
        (Method::PATCH, MERGE, "{}"),
        (Method::DELETE, JSON, ""),
    ] {
        let refused = house.send("catalog", method, &path, &[field], body).await;
        assert_eq!((refused.status.as_u16(), refused.problem().as_str()), (428, "precondition-required"));
    }
    let read = house.get("catalog", &path).await;
    assert_eq!(read.field("cache-status"), "sixfold; fwd=bypass");
    let deleted = house.send("catalog", Method::DELETE, &path, &[("if-match", &tag)], "").await;
    assert_eq!(deleted.status, 204);
    house.stop().await;
}

async fn the_schemas_are_published_for_the_gateways(engine: Engine) {
    let house = catalog(engine).await;
    let published = house.get("catalog", "/.well-known/sixfold/schemas").await.json();
    let schema = &published["collections"]["/catalog/products"]["schema"];
    assert_eq!(schema["required"], json!(["name", "price"]), "{published}");
    house.stop().await;
}

async fn without_a_database_a_service_is_degraded_and_says_so_until_it_is_there(engine: Engine) {
    let mut house = House::without_database(engine, |_| {});
    drop(house.bind_service("catalog"));
    house.get_until("catalog", "/health", |answer| answer.json()["state"] == "degraded").await;
    let refused = house.get("catalog", "/catalog/products/x").await;
    assert_eq!((refused.status.as_u16(), refused.problem().as_str()), (503, "unavailable"));
    assert_ne!(refused.field("retry-after"), "");
    house.start_database().await;
    house.until_ready("catalog").await;
    assert_eq!(create_lamp(&house).await.status, 201);
    house.stop().await;
}

async fn with_a_cluster_token_only_health_answers_without_it(engine: Engine) {
    let token = process::ClusterToken::new(Some(process::Secret::new("secret")));
    let mut house = House::with_token(engine, token, |_| {});
    house.start_database().await;
    house.start_service("catalog").await;
    assert_eq!(house.get("catalog", "/livez").await.status, 200);
    for path in ["/catalog/products", "/.well-known/sixfold/schemas", "/nothing"] {
        assert_eq!(house.get("catalog", path).await.problem(), "unauthenticated", "{path}");
    }
    // The service reaches database and cache with what the token gives its namespace.
    let with = [JSON, ("sixfold-token", "secret")];
    let body = r#"{"name": "Lamp", "price": 1}"#;
    let created = house.send("catalog", Method::POST, "/catalog/products", &with, body).await;
    assert_eq!(created.status, 201, "{created:?}");
    let path = created.field("location").to_owned();
    for expected in ["sixfold; fwd=uri-miss", "sixfold; hit"] {
        let read = house.send("catalog", Method::GET, &path, &with[1..], "").await;
        assert_eq!(read.field("cache-status"), expected);
    }
    house.stop().await;
}

async fn who_missed_changes_does_not_believe_the_cache(engine: Engine) {
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

async fn a_parameter_that_means_nothing_is_refused_wherever_it_stands(engine: Engine) {
    let house = catalog(engine).await;
    let body = r#"{"name": "Lamp", "price": 1}"#;
    let made = house.send("catalog", Method::POST, "/catalog/products", &[JSON], body).await;
    let path = made.field("location").to_owned();
    for (method, path, field) in [
        (Method::GET, "/catalog/products", JSON),
        (Method::POST, "/catalog/products", JSON),
        (Method::POST, "/catalog/products", ("content-type", "application/x-ndjson")),
        (Method::POST, "/catalog/_batch", JSON),
        (Method::GET, path.as_str(), JSON),
        (Method::PUT, path.as_str(), JSON),
        (Method::PATCH, path.as_str(), MERGE),
        (Method::DELETE, path.as_str(), JSON),
    ] {
        let body = if matches!(method, Method::GET | Method::DELETE) { "" } else { body };
        for query in ["nope=1", "deleted=only"] {
            let answer =
                house.send("catalog", method.clone(), &format!("{path}?{query}"), &[field], body).await;
            assert_eq!(
                (answer.status.as_u16(), answer.problem().as_str()),
                (400, "malformed-request"),
                "{method} {path}?{query}"
            );
        }
    }
    assert_eq!(house.get("catalog", &format!("{path}?fields=name")).await.json()["name"], "Lamp");
    house.stop().await;
}

async fn a_name_that_no_path_can_end_in_is_refused(engine: Engine) {
    let house = catalog(engine).await;
    for name in [".", "..", "changes", ""] {
        let create =
            json!({"op": "create", "collection": "products", "id": name, "data": {"name": "a", "price": 1}});
        let refused = house.post("catalog", "/catalog/_batch", &json!({"operations": [create]})).await;
        assert_eq!((refused.status.as_u16(), refused.pointers()), (422, vec!["/operations/0/id".to_owned()]));
        let line = json!({"id": name, "name": "a", "price": 1}).to_string();
        let fields = [("content-type", "application/x-ndjson")];
        let told = house.send("catalog", Method::POST, "/catalog/products", &fields, &line).await;
        assert!(String::from_utf8_lossy(&told.text).contains("\"imported\":0"), "{told:?}");
    }
    let create =
        json!({"op": "create", "collection": "products", "id": "...", "data": {"name": "a", "price": 1}});
    let made = house.post("catalog", "/catalog/_batch", &json!({"operations": [create]})).await;
    assert_eq!(made.status, 200, "{made:?}");
    house.stop().await;
}
