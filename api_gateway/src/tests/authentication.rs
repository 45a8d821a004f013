//! Who is let in: tokens, roles, keys, and what services are told.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use axum::{Json, Router, routing::get};

use super::*;

#[tokio::test]
async fn a_token_opens_what_its_roles_allow() {
    let house = House::start(json!({})).await;
    let (user, admin) = (house.authorize("ada", &["user"]), house.authorize("root", &["admin"]));
    assert_eq!(house.get("/catalog/products", &[]).await.status, 200);

    let anonymous = house.get("/orders/orders", &[]).await;
    assert_eq!(problem(&anonymous), (401, "unauthenticated".to_owned()));
    assert_eq!(anonymous.fields["www-authenticate"], r#"Bearer realm="sixfold""#);
    assert_eq!(json_of(&anonymous)["trace_id"], anonymous.fields["x-request-id"].to_str().unwrap());

    assert_eq!(house.get("/orders/orders", &[("authorization", &user)]).await.status, 200);
    let forbidden = house.get("/queues/q/jobs", &[("authorization", &user)]).await;
    assert_eq!(problem(&forbidden), (403, "forbidden".to_owned()));
    assert!(forbidden.fields["www-authenticate"].to_str().unwrap().contains("insufficient_scope"));
    assert_eq!(house.get("/queues/q/jobs", &[("authorization", &admin)]).await.status, 200);
    let cancel = house.send(Method::POST, "/jobs/1:cancel", &[("authorization", &admin)], "").await;
    assert_eq!((cancel.status.as_u16(), &json_of(&cancel)["target"]), (200, &json!("/jobs/1:cancel")));
    house.stop().await;
}

#[tokio::test]
async fn a_bad_token_is_refused_even_where_none_is_needed() {
    let house = House::start(json!({})).await;
    let forged = format!("Bearer {}", Issuer::new("k1").token("ada", &["admin"]));
    for path in ["/catalog/products", "/orders/orders", "/auth/me"] {
        let refused = house.get(path, &[("authorization", &forged)]).await;
        assert_eq!(problem(&refused), (401, "invalid-token".to_owned()), "{path}");
        assert!(refused.fields["www-authenticate"].to_str().unwrap().contains(r#"error="invalid_token""#));
    }
    house.stop().await;
}

/// A public route with guarded ones within.
fn nested() -> Value {
    json!([
        {"path": "/shop/{*rest}", "service": "outside", "public": true},
        {"path": "/shop/admin", "service": "outside", "roles": ["admin"]},
        {"path": "/shop/admin/{*rest}", "service": "outside", "roles": ["admin"]},
        {"host": "b.example", "path": "/{*rest}", "service": "outside", "roles": ["admin"]},
        {"path": "/b/{*rest}", "service": "outside", "public": true},
    ])
}

#[tokio::test]
async fn a_guarded_path_is_guarded_however_it_is_written() {
    let house = House::start(json!({"routes": nested()})).await;
    let status = async |path| house.get(path, &[]).await.status.as_u16();
    for path in ["/shop/admin", "/shop/admin/x", "/shop/%61dmin/x", "/%73hop/adm%69n/x"] {
        assert_eq!(status(path).await, 401, "{path}");
    }
    for path in [
        "/shop//admin/x",
        "//shop/admin/x",
        "/shop/admin/",
        "/shop/admin%2fx",
        "/shop/admin%5Cx",
        "/shop%2Fadmin/x/",
        "/shop/admin;v=1/x",
        "/shop//admin%2Fx",
        "/shop/%%361dmin/x",
    ] {
        assert!(matches!(status(path).await, 400 | 404), "{path}");
    }
    let admin = house.authorize("root", &["admin"]);
    let seen = house.get("/shop/%61dmin/%7Ex%2f1?q=%61", &[("authorization", &admin)]).await;
    assert_eq!(json_of(&seen)["target"], "/shop/admin/~x%2F1?q=%61", "the service sees what was matched");
    for path in ["/shop/a//b", "/shop/a%2Fb", "/shop/a;b/c/", "/shop/administrator", "/shop/a%20b"] {
        assert_eq!(json_of(&house.get(path, &[]).await)["target"], path);
    }
    house.stop().await;
}

#[tokio::test]
async fn a_guarded_host_is_guarded_however_it_is_written() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let house = House::start(json!({"routes": nested()})).await;
    for (target, host) in [
        ("/b/x", "b.example"),
        ("/b/x", "B.example."),
        ("/b/x", "b.example.:80"),
        ("http://b.example./b/x", "a"),
        ("http://user@b.example/b/x", "a"),
    ] {
        let mut stream = tokio::net::TcpStream::connect(&house.gateway).await.unwrap();
        let asks = format!("GET {target} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        stream.write_all(asks.as_bytes()).await.unwrap();
        let mut answer = String::new();
        tokio::time::timeout(PATIENCE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
        assert!(answer.starts_with("HTTP/1.1 401 "), "{target} {host}: {answer}");
    }
    house.stop().await;
}

#[tokio::test]
async fn a_service_of_the_house_is_told_who_asks_and_another_is_not() {
    let outside = json!({"path": "/outside/{*rest}", "service": "outside", "public": true});
    let house = House::start(json!({"routes": [outside]})).await;
    let user = house.authorize("ada", &["user", "editor"]);
    let forged = [("sixfold-subject", "root"), ("sixfold-roles", "admin"), ("sixfold-token", "guess")];
    let with_user = [&forged[..], &[("authorization", user.as_str())]].concat();

    let told = json_of(&house.get("/auth/me", &with_user).await)["fields"].clone();
    assert_eq!(told["sixfold-subject"], "ada");
    assert_eq!(told["sixfold-roles"], "user,editor");
    assert_eq!(told["sixfold-token"], CLUSTER_TOKEN);

    let told = json_of(&house.get("/auth/me", &forged).await)["fields"].clone();
    assert_eq!((&told["sixfold-subject"], &told["sixfold-roles"]), (&Value::Null, &Value::Null));

    let told = json_of(&house.get("/outside/a", &with_user).await)["fields"].clone();
    for name in ["sixfold-subject", "sixfold-roles", "sixfold-token"] {
        assert_eq!(told[name], Value::Null, "{name}");
    }
    assert_eq!(told["authorization"], user.as_str());
    house.stop().await;
}

#[tokio::test]
async fn a_token_by_a_new_key_is_good_as_soon_as_the_key_is_published() {
    let (old, new) = (Issuer::new("old"), Issuer::new("new"));
    let (first, second) = (old.jwks(), json!({"keys": [old.jwk(), new.jwk()]}));
    let is_rotated = Arc::new(AtomicBool::new(false));
    let rotated = Arc::clone(&is_rotated);
    let keys = get(move || {
        let keys = if rotated.load(Ordering::Relaxed) { second.clone() } else { first.clone() };
        std::future::ready(Json(keys))
    });
    let (mut tasks, shutdown) = (JoinSet::new(), Shutdown::new(Duration::from_secs(5)));
    let routes = Router::new().route("/.well-known/jwks.json", keys).fallback(echo);
    let service = start_service(routes, &mut tasks, &shutdown);
    let settings = json!({"token": {"refresh_at_most_every": "1ms"}});
    let house = House::before(old, &service, settings, tasks, shutdown).await;
    let by_old = house.authorize("ada", &[]);
    assert_eq!(house.get("/orders/a", &[("authorization", &by_old)]).await.status, 200);
    is_rotated.store(true, Ordering::Relaxed);
    let by_new = format!("Bearer {}", new.token("bob", &[]));
    // The first look may fall into the millisecond after the last fetch; the next regular one is minutes away.
    eventually("the new key is known", async || {
        house.get("/orders/a", &[("authorization", &by_new)]).await.status == 200
    })
    .await;
    house.stop().await;
}

#[tokio::test]
async fn unknown_keys_do_not_make_the_gateway_fetch_again_and_again() {
    let issuer = Issuer::new("k1");
    let (jwks, fetches) = (issuer.jwks(), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&fetches);
    let keys = get(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        std::future::ready(Json(jwks.clone()))
    });
    let (mut tasks, shutdown) = (JoinSet::new(), Shutdown::new(Duration::from_secs(5)));
    let routes = Router::new().route("/.well-known/jwks.json", keys).fallback(echo);
    let service = start_service(routes, &mut tasks, &shutdown);
    let settings = json!({"token": {"refresh_at_most_every": "1h"}});
    let house = House::before(issuer, &service, settings, tasks, shutdown).await;
    let known = house.authorize("ada", &[]);
    assert_eq!(house.get("/orders/a", &[("authorization", &known)]).await.status, 200);
    for number in 0..20 {
        let unknown = format!("Bearer {}", Issuer::new(&format!("unknown-{number}")).token("ada", &[]));
        assert_eq!(house.get("/orders/a", &[("authorization", &unknown)]).await.status, 401);
    }
    assert_eq!(fetches.load(Ordering::Relaxed), 1);
    house.stop().await;
}

#[tokio::test]
async fn without_keys_a_token_is_neither_good_nor_bad() {
    let (mut tasks, shutdown) = (JoinSet::new(), Shutdown::new(Duration::from_secs(5)));
    let routes = Router::new().route("/.well-known/jwks.json", get(|| async { "not keys" })).fallback(echo);
    let service = start_service(routes, &mut tasks, &shutdown);
    let house = House::before(Issuer::new("k1"), &service, json!({}), tasks, shutdown).await;
    let user = house.authorize("ada", &[]);
    let answer = house.get("/orders/a", &[("authorization", &user)]).await;
    assert_eq!(problem(&answer), (503, "unavailable".to_owned()));
    assert!(answer.fields.contains_key("retry-after"));
    assert_eq!(house.get("/catalog/a", &[]).await.status, 200);
    house.stop().await;
}

#[tokio::test]
async fn a_service_that_refuses_the_house_s_own_token_is_a_bad_gateway() {
    let (mut tasks, shutdown) = (JoinSet::new(), Shutdown::new(Duration::from_secs(5)));
    let other = ClusterToken::new(Some(Secret::new("another token")));
    let guard = axum::middleware::from_fn_with_state(other, process::token::require);
    let service = start_service(Router::new().fallback(echo).layer(guard), &mut tasks, &shutdown);
    let settings = json!({"breaker": {"consecutive_failures": 3, "open_for": "1h"}});
    let house = House::before(Issuer::new("k1"), &service, settings, tasks, shutdown).await;
    for _ in 0..3 {
        let refused = house.send(Method::POST, "/auth/logout", &[], "").await;
        assert_eq!(problem(&refused), (502, "bad-gateway".to_owned()));
        assert!(!refused.fields.contains_key("sixfold-refused"));
        assert!(!refused.fields.contains_key("www-authenticate"));
    }
    let rested = house.send(Method::POST, "/auth/logout", &[], "").await;
    assert_eq!(problem(&rested), (503, "circuit-open".to_owned()), "it counts as a failure");
    house.stop().await;
}

#[tokio::test]
async fn a_service_s_own_refusal_of_a_user_reaches_the_user() {
    use process::Problem;
    use process::problem::kinds;

    let (mut tasks, shutdown) = (JoinSet::new(), Shutdown::new(Duration::from_secs(5)));
    let refuse = || async {
        // What only the house may say is not passed on, whoever says it.
        ([("sixfold-refused", "something else")], Problem::new(kinds::INVALID_CREDENTIALS))
    };
    let service = start_service(Router::new().fallback(refuse), &mut tasks, &shutdown);
    let outside = json!({"path": "/outside/{*rest}", "service": "outside", "public": true});
    let settings = json!({"routes": [outside]});
    let house = House::before(Issuer::new("k1"), &service, settings, tasks, shutdown).await;
    for path in ["/auth/login", "/outside/a"] {
        let refused = house.send(Method::POST, path, &[], "").await;
        assert_eq!(problem(&refused), (401, "invalid-credentials".to_owned()), "{path}");
        assert!(!refused.fields.contains_key("sixfold-refused"), "{path}");
    }
    house.stop().await;
}
