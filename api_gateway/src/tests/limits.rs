//! How much is let in: rates, sizes, schemas, and requests that cannot be understood.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;

const JSON: (&str, &str) = ("content-type", "application/json");

#[tokio::test]
async fn a_body_is_checked_by_the_schema_the_service_publishes() {
    let house = House::start(json!({})).await;
    eventually("the schemas are known", async || {
        let report = house.report().await;
        report["services"].as_array().unwrap().iter().all(|service| service["schemas_known"] != json!(false))
    })
    .await;
    let admin = house.authorize("root", &["admin"]);
    let fields = [JSON, ("authorization", admin.as_str())];
    let send = async |method, path, body: &'static str| house.send(method, path, &fields, body).await;

    let good = r#"{"name": "tea", "price": 3}"#;
    let created = send(Method::POST, "/catalog/products", good).await;
    assert_eq!((created.status.as_u16(), &json_of(&created)["size"]), (200, &json!(good.len())));

    let invalid = send(Method::POST, "/catalog/products", r#"{"name": "tea", "price": -1}"#).await;
    assert_eq!(problem(&invalid), (422, "invalid-body".to_owned()));
    assert_eq!(json_of(&invalid)["errors"][0]["pointer"], "/price");
    assert_eq!(problem(&send(Method::PUT, "/catalog/products/1", "{}").await).0, 422);
    assert_eq!(
        problem(&send(Method::POST, "/catalog/products", "{").await),
        (400, "malformed-request".to_owned())
    );
    assert_eq!(send(Method::PATCH, "/catalog/products/1", r#"{"price": -1}"#).await.status, 200);
    assert_eq!(problem(&send(Method::PATCH, "/catalog/products/1", "[]").await).0, 422);

    let coded = [fields[0], fields[1], ("content-encoding", "gzip")];
    let coded = house.send(Method::POST, "/catalog/products", &coded, good).await;
    assert_eq!(problem(&coded), (415, "unsupported-coding".to_owned()));
    assert_eq!(coded.fields["accept-encoding"], "identity");

    let anonymous = house.send(Method::POST, "/catalog/products", &[JSON], "{").await;
    assert_eq!(problem(&anonymous).0, 401, "who may not write is not told about the body");
    house.stop().await;
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_by_its_length() {
    let house = House::start(json!({"body_limit": "1KiB"})).await;
    let user = house.authorize("ada", &[]);
    let fields = [("authorization", user.as_str())];
    let fits = house.send(Method::POST, "/orders/a", &fields, vec![b'x'; 1024]).await;
    assert_eq!((fits.status.as_u16(), &json_of(&fits)["size"]), (200, &json!(1024)));
    let large = house.send(Method::POST, "/orders/a", &fields, vec![b'x'; 1025]).await;
    assert_eq!(problem(&large), (413, "body-too-large".to_owned()));
    house.stop().await;
}

#[tokio::test]
async fn a_client_that_sends_all_before_it_reads_sees_the_refusal() {
    let house = House::start(json!({})).await;
    let user = house.authorize("ada", &[]);
    for (path, status) in [("/orders/a", "413"), ("/nowhere", "404"), ("/queues/a", "403")] {
        let mut stream = TcpStream::connect(&house.gateway).await.unwrap();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: a\r\nauthorization: {user}\r\ncontent-length: 3000000\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        for _ in 0..300 {
            stream.write_all(&[b'x'; 10_000]).await.unwrap();
        }
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer[..], format!("HTTP/1.1 {status}").as_bytes(), "{path}");
    }
    house.stop().await;
}

/// Sends a body in chunks over a raw connection and gives the answer's status line.
async fn send_chunked(house: &House, path: &str, chunks: usize) -> String {
    let user = house.authorize("ada", &["admin"]);
    let mut stream = TcpStream::connect(&house.gateway).await.unwrap();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: a\r\nauthorization: {user}\r\ncontent-type: application/json\r\n\
         transfer-encoding: chunked\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let chunk = format!("64\r\n{}\r\n", "1".repeat(100));
    for _ in 0..chunks {
        if stream.write_all(chunk.as_bytes()).await.is_err() {
            break;
        }
    }
    let _ = stream.write_all(b"0\r\n\r\n").await;
    let mut answer = vec![0; 64];
    let read = tokio::time::timeout(PATIENCE, stream.read(&mut answer)).await.unwrap().unwrap();
    String::from_utf8_lossy(&answer[..read]).lines().next().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_while_it_streams() {
    let house = House::start(json!({"body_limit": "1KiB"})).await;
    assert_eq!(send_chunked(&house, "/orders/a", 10).await, "HTTP/1.1 200 OK");
    assert_eq!(send_chunked(&house, "/orders/a", 11).await, "HTTP/1.1 413 Payload Too Large");
    eventually("the schemas are known", async || {
        send_chunked(&house, "/catalog/products", 1).await.contains("422")
    })
    .await;
    assert_eq!(send_chunked(&house, "/catalog/products", 11).await, "HTTP/1.1 413 Payload Too Large");
    house.stop().await;
}

#[tokio::test]
async fn a_client_over_its_rate_is_told_when_to_come_back() {
    let limited = json!({
        "path": "/limited", "service": "catalog", "public": true, "rate": {"per_second": 1, "burst": 3},
    });
    let house = House::start(json!({"routes": [limited]})).await;
    let from = |address: &'static str| [("x-forwarded-for", address)];
    for _ in 0..3 {
        assert_eq!(house.get("/limited", &from("192.0.2.1")).await.status, 200);
    }
    let refused = house.get("/limited", &from("192.0.2.1")).await;
    assert_eq!(problem(&refused), (429, "rate-limited".to_owned()));
    assert_eq!(refused.fields["retry-after"], "1");
    assert_eq!(house.get("/limited", &from("192.0.2.2")).await.status, 200, "another client");
    assert_eq!(house.get("/catalog/a", &from("192.0.2.1")).await.status, 200, "another route");
    let user = house.authorize("ada", &[]);
    let fields = [("x-forwarded-for", "192.0.2.1"), ("authorization", user.as_str())];
    assert_eq!(house.get("/limited", &fields).await.status, 200, "a user counts by name");
    house.stop().await;
}

#[tokio::test]
async fn guessing_tokens_is_limited_too() {
    let house = House::start(json!({"rate": {"per_second": 1, "burst": 3}})).await;
    let guess = [("authorization", "Bearer a.b.c")];
    for _ in 0..3 {
        assert_eq!(house.get("/orders/a", &guess).await.status, 401);
    }
    assert_eq!(house.get("/orders/a", &guess).await.status, 429);
    house.stop().await;
}

#[tokio::test]
async fn what_is_not_there_and_what_is_ambiguous_is_said() {
    let house = House::start(json!({})).await;
    assert_eq!(problem(&house.get("/nowhere", &[]).await), (404, "not-found".to_owned()));
    let other_method = house.get("/auth/login", &[]).await;
    assert_eq!(problem(&other_method), (405, "method-not-allowed".to_owned()));
    assert_eq!(other_method.fields["allow"], "POST, OPTIONS");
    let dotted = house.get("/catalog/..%2forders/a", &[]).await;
    assert_eq!(problem(&dotted), (400, "malformed-request".to_owned()));
    let large = "x".repeat(64 << 10);
    assert_eq!(house.get("/catalog/a", &[("x-large", &large)]).await.status, 431);
    house.stop().await;
}
