//! What of a message passes, what ends at the balancer, and what it adds.

use load_balancer::Policy;

use crate::support::{Backend, config, start, start_over};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[tokio::test]
async fn a_backend_learns_who_asked_and_nothing_of_the_client_s_connection() {
    let backend = Backend::answering(OK).await;
    let balancer = start_over(&backend);
    let request = "GET /path?q=1 HTTP/1.1\r\nHost: shop.example\r\nConnection: keep-alive, X-Private\r\n\
        Keep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nX-Private: 1\r\nX-Kept: 2\r\n\
        X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\nForwarded: for=6.6.6.6\r\n\
        X-Real-IP: 6.6.6.6\r\nProxy-Authorization: Basic YTpi\r\n\r\n";
    let response = balancer.exchange(request).await;
    assert_eq!((response.status(), response.body.as_str()), (200, "ok"));
    let head = backend.head();
    assert_eq!(head.line, "GET /path?q=1 HTTP/1.1");
    let get = |name: &str| head.get(name);
    assert_eq!(get("host").as_deref(), Some("shop.example"));
    assert_eq!(get("x-kept").as_deref(), Some("2"));
    assert_eq!(get("x-forwarded-for").as_deref(), Some("127.0.0.1"), "nobody vouches for the client's own");
    assert_eq!(get("x-forwarded-proto").as_deref(), Some("http"));
    assert_eq!(get("x-forwarded-host").as_deref(), Some("shop.example"));
    assert_eq!(get("via").as_deref(), Some("1.1 sixfold"));
    for gone in [
        "connection",
        "keep-alive",
        "proxy-connection",
        "proxy-authorization",
        "x-private",
        "x-real-ip",
        "forwarded",
        "transfer-encoding",
    ] {
        assert_eq!(get(gone), None, "{gone}");
    }
    let trace = get("traceparent").unwrap();
    assert_eq!(response.head.get("x-request-id").as_deref(), Some(&trace[3..35]));
}

#[tokio::test]
async fn a_trusted_proxy_s_account_is_extended() {
    let backend = Backend::answering(OK).await;
    let mut config = config(&[backend.address]);
    config.trusted_proxies = vec!["127.0.0.0/8".to_owned()];
    let balancer = start(&config);
    balancer
        .exchange(
            "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: https\r\n\
            X-Real-IP: 192.0.2.1\r\nProxy-Authorization: Basic YTpi\r\n\r\n",
        )
        .await;
    assert_eq!(backend.head().get("x-real-ip").as_deref(), Some("192.0.2.1"));
    assert_eq!(backend.head().get("proxy-authorization"), None);
    assert_eq!(backend.head().get("x-forwarded-for").as_deref(), Some("192.0.2.1, 127.0.0.1"));
    assert_eq!(backend.head().get("x-forwarded-proto").as_deref(), Some("https"));
}

#[tokio::test]
async fn a_relayed_client_without_a_name_has_not_the_trust_of_who_relays_him() {
    let backend = Backend::answering(OK).await;
    let mut config = config(&[backend.address]);
    config.trusted_proxies = vec!["127.0.0.0/8".to_owned()];
    config.proxy_protocol = true;
    let balancer = start(&config);
    let request = "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.1\r\nX-Real-IP: 192.0.2.1\r\n\r\n";
    let signature = "\r\n\r\n\0\r\nQUIT\n";
    for (header, told) in [
        (format!("{signature}\x20\0\0\0"), "192.0.2.1, 127.0.0.1"),
        (format!("{signature}\x21\0\0\0"), "127.0.0.1"),
        ("PROXY UNKNOWN\r\n".to_owned(), "127.0.0.1"),
    ] {
        assert_eq!(balancer.exchange(&format!("{header}{request}")).await.status(), 200, "{header:?}");
        assert_eq!(backend.head().get("x-forwarded-for").as_deref(), Some(told), "{header:?}");
        assert_eq!(backend.head().get("x-real-ip").is_some(), told.starts_with("192"), "{header:?}");
    }
}

#[tokio::test]
async fn clients_behind_a_trusted_proxy_are_told_apart_by_ip_hash() {
    let (one, other) = (Backend::answering(OK).await, Backend::answering(OK).await);
    let mut config = config(&[one.address, other.address]);
    config.policy = Policy::IpHash;
    // Nothing is hedged then: on a machine that is busy a backend would get what is another's.
    config.retries = 0;
    let doubting = start(&config);
    config.trusted_proxies = vec!["127.0.0.0/8".to_owned()];
    let believing = start(&config);
    let ask = |client: u8| format!("GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.{client}\r\n\r\n");
    for client in 0..64 {
        assert_eq!(believing.exchange(&ask(client)).await.status(), 200);
    }
    let before = (one.count(), other.count());
    assert!(before.0 > 0 && before.1 > 0, "{before:?}");
    for client in 0..64 {
        assert_eq!(doubting.exchange(&ask(client)).await.status(), 200);
    }
    assert!(one.count() == before.0 || other.count() == before.1, "nobody chooses a backend by a claim");
}

#[tokio::test]
async fn a_name_with_underscores_passes_unless_it_imitates_one_of_ours() {
    let backend = Backend::answering(OK).await;
    let mut config = config(&[backend.address]);
    config.trusted_proxies = vec!["127.0.0.0/8".to_owned()];
    let request = "GET / HTTP/1.1\r\nHost: a\r\nX_Forwarded_For: 6.6.6.6\r\nX-Forwarded_Proto: https\r\n\
        Sixfold_Subject: root\r\nContent_Length: 7\r\nuser_id: 7\r\n\r\n";
    start(&config).exchange(request).await;
    let head = backend.head();
    assert_eq!(head.get("user_id").as_deref(), Some("7"));
    for name in ["x_forwarded_for", "x-forwarded_proto", "sixfold_subject", "content_length"] {
        assert_eq!(head.get(name), None, "{name}");
    }
}

#[tokio::test]
async fn a_client_s_trace_goes_on_and_a_backend_s_request_id_stays() {
    let response = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Request-Id: own\r\n\r\n";
    let backend = Backend::answering(response).await;
    let balancer = start_over(&backend);
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let request = format!("GET / HTTP/1.1\r\nHost: a\r\nTraceparent: 00-{trace}-00f067aa0ba902b7-01\r\n\r\n");
    let response = balancer.exchange(&request).await;
    assert_eq!(&backend.head().get("traceparent").unwrap()[3..35], trace);
    assert_eq!(response.head.get("x-request-id").as_deref(), Some("own"));
}

#[tokio::test]
async fn a_response_s_connection_ends_here() {
    let response = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close, X-Inner\r\nX-Inner: 1\r\n\
        Keep-Alive: timeout=5\r\nServer: theirs\r\n\r\nok";
    let backend = Backend::start(move |_, mut client| async move {
        client.send(response).await;
        None
    })
    .await;
    let balancer = start_over(&backend);
    let mut client = balancer.connect().await;
    for _ in 0..3 {
        let response = client.exchange("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert_eq!(response.body, "ok");
        assert_eq!(response.head.get("server").as_deref(), Some("theirs"));
        for gone in ["connection", "x-inner", "keep-alive"] {
            assert_eq!(response.head.get(gone), None, "{gone}");
        }
    }
}

#[tokio::test]
async fn any_method_passes_and_a_target_comes_out_in_origin_form() {
    let backend = Backend::answering(OK).await;
    let balancer = start_over(&backend);
    for (sent, expected) in [
        ("FROBNICATE /x", "FROBNICATE /x HTTP/1.1"),
        ("OPTIONS *", "OPTIONS * HTTP/1.1"),
        ("GET http://a/y?z", "GET /y?z HTTP/1.1"),
        ("DELETE /a%2Fb//c/../d", "DELETE /a%2Fb//c/../d HTTP/1.1"),
    ] {
        let response = balancer.exchange(&format!("{sent} HTTP/1.1\r\nHost: a\r\n\r\n")).await;
        assert_eq!(response.status(), 200, "{sent}");
        assert_eq!(backend.head().line, expected);
    }
}

#[tokio::test]
async fn what_two_parsers_could_read_differently_never_reaches_a_backend() {
    let backend = Backend::answering(OK).await;
    let balancer = start_over(&backend);
    for request in [
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\nx",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        "CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nBad Name: 1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a b/@\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: user@a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a:b\r\n\r\n",
        "GET / HTTP/1.0\r\nHost: a/b\r\n\r\n",
        "GET http://a/ HTTP/1.1\r\n\r\n",
    ] {
        let status = balancer.exchange(request).await.status();
        assert!(status == 400 || status == 501, "{status} for {request}");
    }
    assert_eq!(backend.count(), 0);
}

#[tokio::test]
async fn a_length_beside_chunks_is_dropped_and_the_connection_closed() {
    let backend = Backend::start(|_, mut client| async move {
        let mut body = String::new();
        while let Some(chunk) = client.read_chunk().await {
            body.push_str(&chunk);
        }
        client.read_past("\r\n").await;
        client.send(&format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())).await;
        Some(client)
    })
    .await;
    let mut config = config(&[backend.address]);
    config.health.path = String::new();
    let balancer = start(&config);
    let mut client = balancer.connect().await;
    let smuggled = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n\
        2\r\nhi\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    let response = client.exchange(smuggled).await;
    if response.status() == 200 {
        assert_eq!(response.body, "hi");
        assert_eq!(backend.head().get("content-length"), None);
    }
    assert!(client.is_closed().await, "what follows is not taken for a request");
    assert!(backend.count() <= 1);
}

#[tokio::test]
async fn an_http_1_0_client_is_served() {
    let backend =
        Backend::answering("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n").await;
    let balancer = start_over(&backend);
    let mut client = balancer.connect().await;
    client.send("GET / HTTP/1.0\r\n\r\n").await;
    let head = client.read_head().await.unwrap();
    // RFC 9110 §6.2: a server tells its own version, and sends what the client's understands.
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(!head.to_lowercase().contains("transfer-encoding"), "{head}");
    assert_eq!(client.read_exactly(2).await, "ok");
    assert!(client.is_closed().await);
    assert_eq!(backend.head().get("host").unwrap(), backend.address.to_string());
    assert_eq!(backend.head().get("x-forwarded-host"), None);
}

#[tokio::test]
async fn a_host_nobody_asked_for_is_not_invented_by_a_second_proxy() {
    let backend = Backend::answering(OK).await;
    let mut config = config(&[backend.address]);
    config.trusted_proxies = vec!["127.0.0.0/8".to_owned()];
    let inner = start(&config);
    let mut outer = config.clone();
    outer.backends = vec![inner.address.to_string().into()];
    outer.trusted_proxies = Vec::new();
    let outer = start(&outer);
    outer.connect().await.exchange("GET / HTTP/1.0\r\n\r\n").await;
    assert_eq!(backend.head().get("x-forwarded-host"), None);
    outer.exchange("GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n").await;
    assert_eq!(backend.head().get("x-forwarded-host").as_deref(), Some("shop.example"));
}
