//! Clients that come back to the same backend, by a cookie.

use load_balancer::Policy;
use process::Secret;

use crate::support::{Backend, Running, config, start};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// A backend that answers 503 to `/busy`, and breaks off at `breaks`.
async fn backend(breaks: &'static str) -> Backend {
    Backend::start(move |head, mut client| async move {
        if head.starts_with(breaks) {
            return None;
        }
        let is_busy = head.starts_with("GET /busy ");
        let busy = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n";
        client.send(if is_busy { busy } else { OK }).await;
        Some(client)
    })
    .await
}

/// Asks without a cookie until this backend answers; gives the cookie it is found by again.
async fn cookie_of(balancer: &Running, backend: &Backend) -> String {
    loop {
        let before = backend.count();
        let response = balancer.exchange("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let cookie = response.head.get("set-cookie").expect("a client without one gets one");
        if backend.count() > before {
            return cookie.split(';').next().unwrap().to_owned();
        }
    }
}

#[tokio::test]
async fn a_client_with_a_cookie_keeps_its_backend_while_that_is_well() {
    let (own, other) = (backend("GET /break ").await, backend("never").await);
    let mut config = config(&[own.address, other.address]);
    config.policy = Policy::StickyCookie { cookie: "at".to_owned() };
    config.sticky_secret = Some(Secret::new("a secret of the test"));
    let balancer = start(&config);
    let cookie = cookie_of(&balancer, &own).await;
    let foreign = "a=1; at=of-somebody-else";
    let before = other.count();
    for (path, cookies, status) in [
        ("/", format!("Cookie: {cookie}\r\n"), 200),
        ("/busy", format!("Cookie: {cookie}\r\n"), 503),
        ("/", format!("Cookie: {foreign}\r\nCookie: b=2; {cookie}\r\n"), 200),
    ] {
        let response = balancer.exchange(&format!("GET {path} HTTP/1.1\r\nHost: a\r\n{cookies}\r\n")).await;
        assert_eq!(response.status(), status, "{cookies}");
        assert_eq!(response.head.get("set-cookie"), None, "{path} {cookies}");
    }
    assert_eq!(other.count(), before);
    let ask = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: a\r\nCookie: {cookie}\r\n\r\n");
    let response = balancer.exchange(&ask("/break")).await;
    assert_eq!((response.status(), other.count()), (200, before + 1), "the other stands in");
    assert_eq!(response.head.get("set-cookie"), None, "and does not keep the client");
    let name = format!("/v1/backends/{}", own.address);
    assert_eq!(balancer.administer("PATCH", &name, r#"{"drain": true}"#).await.0, 200);
    let response = balancer.exchange(&format!("GET / HTTP/1.1\r\nHost: a\r\nCookie: {cookie}\r\n\r\n")).await;
    assert_eq!(response.status(), 200);
    assert!(response.head.get("set-cookie").is_some_and(|given| !given.contains(&cookie)), "another one");
    assert_eq!(other.count(), before + 2);
}
