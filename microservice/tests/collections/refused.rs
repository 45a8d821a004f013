//! What is refused, and what the answer says of it.

use http::Method;
use serde_json::json;

use crate::house::{Engine, House};
use crate::{JSON, MERGE, catalog, create_lamp};

pub(super) async fn what_is_wrong_with_a_request_is_said(engine: Engine) {
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

pub(super) async fn a_parameter_that_means_nothing_is_refused_wherever_it_stands(engine: Engine) {
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

pub(super) async fn a_name_that_no_path_can_end_in_is_refused(engine: Engine) {
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

pub(super) async fn what_can_name_a_record_is_said_to_who_would_name_one_otherwise(engine: Engine) {
    let house = catalog(engine).await;
    let rule = "a record's name is 1 to 255 ASCII letters, digits, `.`, `_`, `~` or `-`, and not `.`, `..` or `changes`";
    let (body, absent) = (r#"{"name": "a", "price": 1}"#, [JSON, ("if-none-match", "*")]);
    let long = "x".repeat(256);
    for name in ["%C3%BC", "a%20b", "a:b", "a%3Ab", "a+b", "a%2Fb", "%FF", "%2E", long.as_str()] {
        let path = format!("/catalog/products/{name}");
        for fields in [&absent[..], &absent[..1]] {
            let refused = house.send("catalog", Method::PUT, &path, fields, body).await;
            assert_eq!(
                (refused.status.as_u16(), refused.problem().as_str()),
                (422, "invalid-body"),
                "{name}"
            );
            assert_eq!(refused.json()["detail"], rule, "{name}");
        }
        for (method, fields, body) in
            [(Method::GET, JSON, ""), (Method::PATCH, MERGE, "{}"), (Method::DELETE, JSON, "")]
        {
            let nothing = house.send("catalog", method, &path, &[fields], body).await;
            assert_eq!((nothing.status.as_u16(), nothing.problem().as_str()), (404, "not-found"), "{name}");
        }
    }
    let longest = format!("/catalog/products/{}", &long[1..]);
    assert_eq!(house.send("catalog", Method::PUT, &longest, &absent, body).await.status, 201);
    let create =
        json!({"op": "create", "collection": "products", "id": "\u{fc}", "data": {"name": "a", "price": 1}});
    let refused = house.post("catalog", "/catalog/_batch", &json!({"operations": [create]})).await;
    assert_eq!(refused.json()["errors"], json!([{"pointer": "/operations/0/id", "detail": rule}]));
    let line = json!({"id": "\u{fc}", "name": "a", "price": 1}).to_string();
    let fields = [("content-type", "application/x-ndjson")];
    let told = house.send("catalog", Method::POST, "/catalog/products", &fields, &line).await;
    let told: serde_json::Value =
        serde_json::from_slice(told.text.split(|b| *b == b'\n').next().unwrap()).unwrap();
    assert_eq!(told["problem"]["errors"], json!([{"pointer": "/id", "detail": rule}]));
    house.stop().await;
}

pub(super) async fn with_a_cluster_token_only_health_answers_without_it(engine: Engine) {
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
