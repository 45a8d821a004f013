//! Bodies stream both ways, of any length and framing.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use crate::support::{Backend, config, start, start_over};

#[tokio::test]
async fn an_upload_reaches_the_backend_before_it_is_complete() {
    let arrived = Arc::new(Notify::new());
    let told = Arc::clone(&arrived);
    let backend = Backend::start(move |head, mut client| {
        let told = Arc::clone(&told);
        async move {
            if head.starts_with("GET /health") {
                return None;
            }
            assert_eq!(client.read_chunk().await.unwrap(), "first");
            told.notify_one();
            assert_eq!(client.read_chunk().await.unwrap(), "second");
            assert_eq!(client.read_chunk().await, None);
            let trailer = client.read_past("\r\n\r\n").await.unwrap();
            client
                .send(&format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{trailer}", trailer.len()))
                .await;
            Some(client)
        }
    })
    .await;
    let mut config = config(&[backend.address]);
    config.health.path = String::new();
    let balancer = start(&config);
    let mut client = balancer.connect().await;
    client
        .send(
            "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n5\r\nfirst\r\n",
        )
        .await;
    arrived.notified().await;
    client.send("6\r\nsecond\r\n0\r\nX-Sum: 11\r\n\r\n").await;
    let response = client.read_response(false).await;
    assert_eq!(response.body.trim().to_lowercase(), "x-sum: 11", "the trailer came through");
    assert_eq!(backend.head().get("transfer-encoding").as_deref(), Some("chunked"));
}

#[tokio::test]
async fn a_download_reaches_the_client_before_it_is_complete_with_its_trailers() {
    let goes_on = Arc::new(Notify::new());
    let told = Arc::clone(&goes_on);
    let backend = Backend::start(move |_, mut client| {
        let told = Arc::clone(&told);
        async move {
            client
                .send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n5\r\nfirst\r\n")
                .await;
            told.notified().await;
            client.send("6\r\nsecond\r\n0\r\nX-Sum: 11\r\n\r\n").await;
            Some(client)
        }
    })
    .await;
    let mut config = config(&[backend.address]);
    config.health.path = String::new();
    let balancer = start(&config);
    let mut client = balancer.connect().await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: TE\r\n\r\n").await;
    client.read_head().await.unwrap();
    assert_eq!(client.read_chunk().await.unwrap(), "first");
    goes_on.notify_one();
    assert_eq!(client.read_chunk().await.unwrap(), "second");
    assert_eq!(client.read_chunk().await, None);
    assert_eq!(client.read_past("\r\n\r\n").await.unwrap().trim().to_lowercase(), "x-sum: 11");
    assert_eq!(backend.head().get("te").as_deref(), Some("trailers"));
}

#[tokio::test]
async fn a_large_body_comes_back_whole() {
    let backend = Backend::start(|head, mut client| async move {
        let length = head
            .to_lowercase()
            .split("content-length: ")
            .nth(1)
            .map_or(0, |rest| rest.split("\r\n").next().unwrap().parse().unwrap());
        let body = client.read_exactly(length).await;
        client.send(&format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}")).await;
        Some(client)
    })
    .await;
    let balancer = start_over(&backend);
    let body: String = (0..200_000).map(|number| format!("{number:09} ")).collect();
    let request = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let response = balancer.exchange(&request).await;
    assert!(response.body == body, "{} of {} bytes came back", response.body.len(), body.len());
}

#[tokio::test]
async fn a_head_response_has_a_length_and_no_body() {
    let backend = Backend::answering("HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n").await;
    let balancer = start_over(&backend);
    let mut client = balancer.connect().await;
    for _ in 0..2 {
        let response = client.exchange("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert_eq!(response.head.get("content-length").as_deref(), Some("1234"));
    }
}

#[tokio::test]
async fn responses_without_a_body_leave_the_connection_usable() {
    for response in ["HTTP/1.1 204 No Content\r\n\r\n", "HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\n\r\n"] {
        let backend = Backend::answering(response).await;
        let balancer = start_over(&backend);
        let mut client = balancer.connect().await;
        for _ in 0..2 {
            let status = client.exchange("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.status();
            assert!(status == 204 || status == 304);
        }
    }
}

#[tokio::test]
async fn a_body_that_ends_with_its_connection_passes() {
    let backend = Backend::start(|_, mut client| async move {
        client.send("HTTP/1.0 200 OK\r\n\r\nto the end").await;
        None
    })
    .await;
    let balancer = start_over(&backend);
    let response = balancer.exchange("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(response.body, "to the end");
}

#[tokio::test]
async fn a_client_that_waits_for_100_gets_it() {
    let backend = Backend::start(|head, mut client| async move {
        assert!(head.to_lowercase().contains("expect: 100-continue"), "it is the backend's to say");
        client.send("HTTP/1.1 100 Continue\r\n\r\n").await;
        let body = client.read_exactly(4).await;
        client.send(&format!("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n{body}")).await;
        Some(client)
    })
    .await;
    let mut config = config(&[backend.address]);
    config.health.path = String::new();
    let balancer = start(&config);
    let mut client = balancer.connect().await;
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n").await;
    assert!(client.read_head().await.unwrap().starts_with("HTTP/1.1 100"));
    client.send("body").await;
    assert_eq!(client.read_response(false).await.body, "body");
}

#[tokio::test]
async fn an_interim_response_passes_and_is_not_taken_for_the_final_one() {
    let backend = Backend::answering(
        "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    )
    .await;
    let balancer = start_over(&backend);
    let mut client = balancer.connect().await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let interim = client.read_head().await.unwrap();
    assert!(interim.starts_with("HTTP/1.1 103") && interim.contains("Link: </a>"), "{interim}");
    assert_eq!(client.read_response(false).await.body, "ok");
}

#[tokio::test]
async fn a_get_with_a_body_keeps_it() {
    let backend = Backend::start(|head, mut client| async move {
        if head.starts_with("GET /health") {
            return None;
        }
        let body = client.read_chunk().await.unwrap();
        client.read_past("0\r\n\r\n").await;
        client.send(&format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())).await;
        Some(client)
    })
    .await;
    let mut config = config(&[backend.address]);
    config.health.path = String::new();
    let balancer = start(&config);
    let request = "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nquery\r\n0\r\n\r\n";
    assert_eq!(balancer.exchange(request).await.body, "query");
}

#[tokio::test]
async fn an_upload_that_moves_outlives_the_silence_a_backend_is_granted() {
    let backend = Backend::start(|_, mut client| async move {
        let body = client.read_exactly(12).await;
        client.send(&format!("HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n{body}")).await;
        Some(client)
    })
    .await;
    let mut config = config(&[backend.address]);
    config.health.path = String::new();
    config.head_timeout = Duration::from_millis(1000);
    let balancer = start(&config);
    let mut client = balancer.connect().await;
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\n\r\n").await;
    for _ in 0..12 {
        // Real time must pass here; the whole upload takes longer than the timeout.
        tokio::time::sleep(Duration::from_millis(120)).await;
        client.send("x").await;
    }
    assert_eq!(client.read_response(false).await.body, "x".repeat(12));
}

/// A backend which answers a request once it has its four bytes.
async fn taking_four_bytes() -> Backend {
    Backend::start(|_, mut client| async move {
        client.read_past("body").await?;
        client.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
        Some(client)
    })
    .await
}

#[tokio::test]
async fn a_client_that_falls_silent_in_its_body_is_told_so_and_its_backend_not_blamed() {
    let backend = taking_four_bytes().await;
    let mut config = config(&[backend.address]);
    config.health.path = String::new();
    config.body_idle_timeout = Duration::from_millis(50);
    let balancer = start(&config);
    for framing in ["Content-Length: 4\r\n\r\nbo", "Transfer-Encoding: chunked\r\n\r\n2\r\nbo\r\n"] {
        let response = balancer.exchange(&format!("POST / HTTP/1.1\r\nHost: a\r\n{framing}")).await;
        assert_eq!((response.status(), response.problem().as_str()), (408, "request-timeout"), "{framing}");
    }
    balancer.wait_until(|backends| backends[0].in_flight == 0).await;
    let report = &balancer.report().await[0];
    assert_eq!((report.requests, report.errors, report.p99_ms), (2, 0, None));
}

#[tokio::test]
async fn a_backend_silent_after_a_whole_upload_is_blamed() {
    let backend = Backend::start(|_, client| async move {
        let _open = client;
        std::future::pending().await
    })
    .await;
    let mut config = config(&[backend.address]);
    config.health.path = String::new();
    config.head_timeout = Duration::from_millis(50);
    let balancer = start(&config);
    for framing in
        ["Content-Length: 4\r\n\r\nbody", "Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n"]
    {
        let response = balancer.exchange(&format!("POST / HTTP/1.1\r\nHost: a\r\n{framing}")).await;
        assert_eq!((response.status(), response.problem().as_str()), (504, "timeout"), "{framing}");
    }
    balancer.wait_until(|backends| backends[0].in_flight == 0 && backends[0].errors == 2).await;
}

#[tokio::test]
async fn the_time_a_client_takes_over_its_upload_is_no_latency_of_the_backend() {
    let backend = taking_four_bytes().await;
    let mut config = config(&[backend.address]);
    config.health.path = String::new();
    let balancer = start(&config);
    let mut client = balancer.connect().await;
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbo").await;
    // Real time must pass here; it is far more than the backend ever takes.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    client.send("dy").await;
    assert_eq!(client.read_response(false).await.status(), 200);
    let report = &balancer.report().await[0];
    assert!(report.p99_ms.is_some_and(|p99| p99 < 1000.0), "{report:?}");
}
