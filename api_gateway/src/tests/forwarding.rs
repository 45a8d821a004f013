//! What services see of a request, and what clients see of the gateway itself.

use super::*;

#[tokio::test]
async fn a_request_reaches_the_service_as_it_was_sent() {
    let house = House::start(json!({})).await;
    let fields = [("x-mine", "kept"), ("cache-control", "max-stale=5")];
    let answer = house.send(Method::POST, "/auth/login?next=%2Fa", &fields, "body").await;
    let told = json_of(&answer);
    assert_eq!((&told["method"], &told["size"]), (&json!("POST"), &json!(4)));
    assert_eq!(
        (&told["target"], &told["fields"]["x-mine"]),
        (&json!("/auth/login?next=%2Fa"), &json!("kept"))
    );
    assert_eq!(told["fields"]["x-forwarded-for"], "127.0.0.1");
    assert_eq!(told["fields"]["cache-control"], "max-stale=5");
    house.stop().await;
}

#[tokio::test]
async fn a_service_of_the_house_is_told_the_address_behind_the_trusted_proxies_and_no_other_is() {
    let outside = json!({"path": "/outside/{*rest}", "service": "outside", "public": true});
    let house = House::start(json!({"routes": [outside]})).await;
    let fields = [("x-forwarded-for", "198.51.100.1, 192.0.2.7"), ("sixfold-client", "198.51.100.2")];
    let told = json_of(&house.send(Method::POST, "/auth/login", &fields, "body").await);
    assert_eq!(told["fields"]["sixfold-client"], "192.0.2.7");
    let told = json_of(&house.get("/outside/a", &fields).await);
    assert_eq!(told["fields"]["sixfold-client"], json!(null));
    house.stop().await;
}

#[tokio::test]
async fn the_trace_goes_on_and_names_the_answer() {
    let house = House::start(json!({})).await;
    let sent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let answer = house.get("/catalog/a", &[("traceparent", sent)]).await;
    assert_eq!(answer.fields["x-request-id"], "4bf92f3577b34da6a3ce929d0e0e4736");
    let received = json_of(&answer)["fields"]["traceparent"].as_str().unwrap().to_owned();
    assert_eq!(received[..36], sent[..36]);
    assert_ne!(received, sent, "a span of the gateway's own");
    assert!(house.get("/nowhere", &[]).await.fields.contains_key("x-request-id"));
    house.stop().await;
}

#[tokio::test]
async fn a_prefix_is_cut_off_where_the_route_says_so() {
    let route = json!({
        "path": "/shop/{*rest}", "service": "outside", "public": true, "strip_prefix": "/shop",
    });
    let house = House::start(json!({"routes": [route]})).await;
    assert_eq!(json_of(&house.get("/shop/tea/1?q=2", &[]).await)["target"], "/tea/1?q=2");
    house.stop().await;
}

#[tokio::test]
async fn health_is_the_gateway_s_own_and_ends_when_it_drains() {
    let house = House::start(json!({"threads": 2})).await;
    let health = house.get("/health", &[]).await;
    assert_eq!(health.status, 200);
    assert!(json_of(&health)["role"].as_str().unwrap().starts_with("gateway "));
    assert_eq!(house.get("/livez", &[]).await.body, "ok\n");
    assert_eq!(problem(&house.send(Method::POST, "/health", &[], "").await).0, 405);
    house.stop().await;
}

#[tokio::test]
async fn options_tell_what_a_path_takes_and_need_no_token() {
    let outside = json!({"path": "/outside/{*rest}", "service": "outside", "public": true});
    let house = House::start(json!({"routes": [outside]})).await;
    let any = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";
    for (path, allow) in [
        ("/auth/login", "POST, OPTIONS"),
        ("/auth/me", any),
        ("/.well-known/jwks.json", "GET, HEAD, OPTIONS"),
        ("/catalog/products", any),
        ("/orders/orders", any),
        ("/queues", any),
        ("/health", "GET, HEAD, OPTIONS"),
    ] {
        let told = house.send(Method::OPTIONS, path, &[], "").await;
        assert_eq!((told.status.as_u16(), &told.fields["allow"]), (204, &allow.parse().unwrap()), "{path}");
        assert!(told.body.is_empty() && told.fields.contains_key("x-request-id"), "{path}");
    }
    assert_eq!(problem(&house.send(Method::OPTIONS, "/nowhere", &[], "").await).0, 404);
    let dotted = house.send(Method::OPTIONS, "/orders/..%2fa", &[], "").await;
    assert_eq!(problem(&dotted), (400, "malformed-request".to_owned()));

    // With a token, and for a service of one's own, it is the service that knows best.
    let user = house.authorize("ada", &[]);
    let asked = house.send(Method::OPTIONS, "/orders/a", &[("authorization", &user)], "").await;
    assert_eq!(json_of(&asked)["method"], "OPTIONS");
    let asked = house.send(Method::OPTIONS, "/outside/a", &[], "").await;
    assert_eq!(json_of(&asked)["method"], "OPTIONS");
    house.stop().await;
}

#[tokio::test]
async fn options_of_the_server_as_a_whole_are_answered() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let house = House::start(json!({})).await;
    let mut stream = tokio::net::TcpStream::connect(&house.gateway).await.unwrap();
    stream.write_all(b"OPTIONS * HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    tokio::time::timeout(PATIENCE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 204 "), "{answer}");
    house.stop().await;
}

#[tokio::test]
async fn http_1_0_changes_no_protocol() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let house = House::start(json!({})).await;
    let mut stream = tokio::net::TcpStream::connect(&house.gateway).await.unwrap();
    let asks = b"GET /catalog/a HTTP/1.0\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
    stream.write_all(asks).await.unwrap();
    let mut answer = String::new();
    tokio::time::timeout(PATIENCE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    let told: Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
    assert_eq!(told["target"], "/catalog/a");
    assert_eq!((&told["fields"]["upgrade"], &told["fields"]["connection"]), (&json!(null), &json!(null)));
    house.stop().await;
}

#[tokio::test]
async fn asking_for_options_is_limited_too() {
    let house = House::start(json!({"rate": {"per_second": 1, "burst": 3}})).await;
    for _ in 0..3 {
        assert_eq!(house.send(Method::OPTIONS, "/orders/a", &[], "").await.status, 204);
    }
    let refused = house.send(Method::OPTIONS, "/orders/a", &[], "").await;
    assert_eq!(problem(&refused), (429, "rate-limited".to_owned()));
    house.stop().await;
}

#[tokio::test]
async fn figures_are_counted() {
    let house = House::start(json!({})).await;
    house.get("/catalog/a", &[]).await;
    house.get("/nowhere", &[]).await;
    let port = house.gateway.rsplit_once(':').unwrap().1.to_owned();
    eventually("the figures are shown", async || {
        let text = String::from_utf8(process::metrics::render()).unwrap();
        let refused = format!(r#"sixfold_gateway_refused_total{{gateway="{port}",problem="not-found"}} 1"#);
        let circuit =
            format!(r#"sixfold_gateway_breaker_state{{gateway="{port}",service="catalog",thread="0"}} 0"#);
        text.contains(r#"sixfold_requests_total{role="gateway",status="200"}"#)
            && text.contains(r#"sixfold_request_seconds_count{role="gateway"}"#)
            && text.contains(&refused)
            && text.contains(&circuit)
    })
    .await;
    house.stop().await;
}

#[tokio::test]
async fn a_request_in_flight_is_finished_when_the_gateway_stops() {
    use std::sync::Arc;

    use tokio::sync::Notify;

    let (arrived, answer) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (seen, wait) = (Arc::clone(&arrived), Arc::clone(&answer));
    let slow = move || {
        let (seen, wait) = (Arc::clone(&seen), Arc::clone(&wait));
        async move {
            seen.notify_one();
            wait.notified().await;
            "done"
        }
    };
    let (mut tasks, shutdown) = (JoinSet::new(), Shutdown::new(PATIENCE));
    let routes = axum::Router::new().route("/catalog/slow", axum::routing::get(slow));
    let service = start_service(routes, &mut tasks, &shutdown);
    let house = House::before(Issuer::new("k1"), &service, json!({}), tasks, shutdown).await;
    let asked = house.get("/catalog/slow", &[]);
    let stopped = async {
        arrived.notified().await;
        house.shutdown.request();
        eventually("nothing new is accepted", async || {
            tokio::net::TcpStream::connect(&house.gateway).await.is_err()
        })
        .await;
        answer.notify_one();
    };
    let (answered, ()) = tokio::join!(asked, stopped);
    assert_eq!((answered.status.as_u16(), &answered.body[..]), (200, &b"done"[..]));
    house.stop().await;
}
