//! What a service says of itself, and how a listing is walked.

use serde_json::json;

use crate::house::{Engine, House};
use crate::{catalog, create_lamp};

pub(super) async fn a_service_describes_the_fields_that_say_when_and_how_often(engine: Engine) {
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

pub(super) async fn the_schemas_are_published_for_the_gateways(engine: Engine) {
    let house = catalog(engine).await;
    let published = house.get("catalog", "/.well-known/sixfold/schemas").await.json();
    let schema = &published["collections"]["/catalog/products"]["schema"];
    assert_eq!(schema["required"], json!(["name", "price"]), "{published}");
    assert_eq!(schema["properties"]["updated_at"], true, "so that what was read passes: {published}");
    assert_eq!(
        published["collections"]["/catalog/products"]["sensitive"],
        json!([]),
        "so that none is quoted"
    );
    house.stop().await;
}

pub(super) async fn without_a_database_a_service_is_degraded_and_says_so_until_it_is_there(engine: Engine) {
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

pub(super) async fn a_listing_is_walked_page_by_page(engine: Engine) {
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
