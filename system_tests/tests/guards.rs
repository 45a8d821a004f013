//! What a gateway refuses, and how it says so.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use axum::Router;
use axum::routing::get;
use http::StatusCode;
use serde_json::json;
use system_tests::{Client, House, Layout, wait_until};
use tokio::task::JoinSet;

#[tokio::test]
async fn each_refusal_is_the_right_problem() {
    let house = House::start(Layout::Folded).await;
    let anonymous = house.client();
    let admin = house.administrator().await;
    let json = [("content-type", "application/json")];

    let missing = anonymous.get("/orders/orders").await;
    assert_eq!((missing.status.as_u16(), missing.problem().as_str()), (401, "unauthenticated"));
    assert!(missing.field("www-authenticate").starts_with("Bearer"), "{missing:?}");

    let forged = anonymous.with_token("a.b.c").get("/orders/orders").await;
    assert_eq!((forged.status.as_u16(), forged.problem().as_str()), (401, "invalid-token"));
    assert!(forged.field("www-authenticate").contains("invalid_token"), "{forged:?}");

    let unauthenticated = anonymous.send("POST", "/catalog/products", &json, "{}").await;
    assert_eq!(unauthenticated.status, 401);

    let invalid = admin.post("/catalog/products", &json!({"price": -1})).await;
    assert_eq!((invalid.status.as_u16(), invalid.problem().as_str()), (422, "invalid-body"));
    let errors = invalid.json()["errors"].as_array().expect("errors").clone();
    assert!(errors.iter().any(|error| error["pointer"] == "/price"), "{errors:?}");

    let malformed = admin.send("POST", "/catalog/products", &json, "{").await;
    assert_eq!((malformed.status.as_u16(), malformed.problem().as_str()), (400, "malformed-request"));

    let large = format!("{{\"name\": \"{}\", \"price\": 1}}", "x".repeat(3 << 20));
    let oversize = admin.send("POST", "/catalog/products", &json, large).await;
    assert_eq!((oversize.status.as_u16(), oversize.problem().as_str()), (413, "body-too-large"));

    let nowhere = anonymous.get("/nowhere").await;
    assert_eq!((nowhere.status.as_u16(), nowhere.problem().as_str()), (404, "not-found"));
}

#[tokio::test]
async fn a_user_without_the_role_is_forbidden() {
    let house = House::start_with(Layout::Folded, "[microservice.accounts]\nregistration = true\n").await;
    let client = house.client();
    let account = json!({"username": "ada", "password": "a long enough password"});
    let registered = client.post("/auth/register", &account).await;
    assert_eq!(registered.status, 201, "{registered:?}\n{}", house.logs());
    let login = client.post("/auth/login", &account).await;
    assert_eq!(login.status, 200, "{login:?}");
    let ada = client.with_token(login.json()["access_token"].as_str().expect("a token"));
    let me = ada.get("/auth/me").await;
    assert_eq!((me.status.as_u16(), &me.json()["username"]), (200, &json!("ada")));
    let forbidden = ada.post("/catalog/products", &json!({"name": "lamp", "price": 1})).await;
    assert_eq!((forbidden.status.as_u16(), forbidden.problem().as_str()), (403, "forbidden"));

    // A refresh token is good once; used again, it ends its family.
    let refresh = json!({"refresh_token": login.json()["refresh_token"]});
    let renewed = client.post("/auth/refresh", &refresh).await;
    assert_eq!(renewed.status, 200, "{renewed:?}");
    assert_eq!(client.post("/auth/refresh", &refresh).await.status, 401);
    let stolen = json!({"refresh_token": renewed.json()["refresh_token"]});
    assert_eq!(client.post("/auth/refresh", &stolen).await.status, 401);
}

#[tokio::test]
async fn a_burst_over_the_limit_is_told_when_to_come_back() {
    let extra = "[[api_gateway.routes]]\npath = \"/limited/{*rest}\"\nservice = \"catalog\"\npublic = true\n\
        rate = { per_second = 1, burst = 3 }\n";
    let house = House::start_with(Layout::Folded, extra).await;
    let client = house.client();
    // Five gateways each keep a count of their own in this step: at most 5 × 3 pass at once.
    let mut limited = None;
    for _ in 0..40 {
        let reply = client.get("/limited/anything").await;
        if reply.status == 429 {
            limited = Some(reply);
        }
    }
    let limited = limited.expect("40 requests at once are over 5 × 3");
    assert_eq!(limited.problem(), "rate-limited");
    assert!(limited.field("retry-after").parse::<u64>().expect("seconds") >= 1);
}

#[tokio::test]
async fn a_dead_service_is_refused_as_unavailable_and_comes_back() {
    let mut house = House::start(Layout::Unfolded).await;
    let client = house.client();
    house.kill("service catalog");
    wait_until("every gateway knows", || async {
        let reply = client.get("/catalog/products").await;
        assert!(reply.status == 502 || reply.status == 503 || reply.status == 504, "{reply:?}");
        reply.problem() == "circuit-open" || reply.problem() == "no-backend"
    })
    .await;
    house.start_role("service catalog");
    wait_until("it is back", || async { client.get("/catalog/products").await.status == 200 }).await;
}

#[tokio::test]
async fn the_circuit_opens_on_a_failing_service_and_closes_again() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("its address");
    let (fails, asked) = (Arc::new(AtomicBool::new(true)), Arc::<AtomicU64>::default());
    let answer = {
        let (fails, asked) = (Arc::clone(&fails), Arc::clone(&asked));
        move || {
            asked.fetch_add(1, Ordering::Relaxed);
            let status = if fails.load(Ordering::Relaxed) { 503 } else { 200 };
            std::future::ready(StatusCode::from_u16(status).expect("a status"))
        }
    };
    let router = Router::new().route("/health", get(|| async { "ok" })).fallback(answer);
    let mut server = JoinSet::new();
    server.spawn(async move { axum::serve(listener, router).await });
    let extra = format!(
        "[services.flaky]\ninstances = [\"{address}\"]\n\
         [[api_gateway.routes]]\npath = \"/flaky/{{*rest}}\"\nservice = \"flaky\"\npublic = true\n\
         [api_gateway.breaker]\nopen_for = \"1s\"\n"
    );
    let house = House::start_with(Layout::Folded, &extra).await;
    let gateway = Client::new(format!("http://127.0.0.1:{}", house.ports.gateways[0]));
    wait_until("the circuit opens", || async {
        let reply = gateway.get("/flaky/x").await;
        reply.field("content-type") == "application/problem+json" && reply.problem() == "circuit-open"
    })
    .await;
    let before = asked.load(Ordering::Relaxed);
    let refused = gateway.get("/flaky/x").await;
    assert_eq!((refused.status.as_u16(), asked.load(Ordering::Relaxed)), (503, before), "nobody is asked");
    fails.store(false, Ordering::Relaxed);
    wait_until("the circuit closes", || async { gateway.get("/flaky/x").await.status == 200 }).await;
}
