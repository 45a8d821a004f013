//! One record from its creation to its deletion: conditions, patches, and the job that comes with it.

use database::job::JobFilter;
use http::Method;
use serde_json::{Value, json};

use crate::house::{Engine, House};
use crate::{JSON, MERGE, catalog, create_lamp};

pub(super) async fn a_created_record_is_found_read_from_the_cache_and_gone_after_deletion(engine: Engine) {
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

pub(super) async fn a_condition_saves_a_transfer_and_stops_a_lost_update(engine: Engine) {
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

pub(super) async fn a_put_makes_a_record_at_a_chosen_name_only_when_asked_to(engine: Engine) {
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
    house.stop().await;
}

pub(super) async fn patches_that_race_are_all_applied(engine: Engine) {
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

pub(super) async fn a_json_patch_changes_a_record_whole_or_not_at_all(engine: Engine) {
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

pub(super) async fn a_collection_may_demand_the_version_and_go_without_a_cache(engine: Engine) {
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
    let id = path.rsplit('/').next().unwrap();
    let operation = json!({"op": "patch", "collection": "products", "id": id, "data": {}});
    let refused = house.post("catalog", "/catalog/_batch", &json!({"operations": [operation]})).await;
    assert_eq!((refused.status.as_u16(), refused.pointers()), (428, vec!["/operations/0".to_owned()]));
    assert!(refused.json()["detail"].as_str().unwrap().contains("`if_match`"), "{refused:?}");
    let read = house.get("catalog", &path).await;
    assert_eq!(read.field("cache-status"), "sixfold; fwd=bypass");
    let deleted = house.send("catalog", Method::DELETE, &path, &[("if-match", &tag)], "").await;
    assert_eq!(deleted.status, 204);
    house.stop().await;
}

pub(super) async fn an_order_and_the_job_that_confirms_it_come_together(engine: Engine) {
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
