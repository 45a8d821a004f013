//! HTTP/2 by prior knowledge in front, HTTP/1.1 behind.

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::support::{Backend, config, start};

#[tokio::test]
async fn an_http_2_client_is_served_over_http_1() {
    let backend = Backend::start(|head, mut client| async move {
        if head.starts_with("GET /health") {
            return None;
        }
        let body = client.read_exactly(4).await;
        client
            .send(&format!(
                "HTTP/1.1 201 Created\r\nConnection: keep-alive\r\nContent-Length: 4\r\n\r\n{body}"
            ))
            .await;
        Some(client)
    })
    .await;
    let mut config = config(&[backend.address]);
    config.health.path = String::new();
    let balancer = start(&config);
    let stream = TcpStream::connect(balancer.address).await.unwrap();
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { drop(connection.await) });
    let mut streams = JoinSet::new();
    for _ in 0..20 {
        let mut sender = sender.clone();
        streams.spawn(async move {
            let request = Request::post("http://shop.example/orders?x=1")
                .header("cookie", "a=1")
                .header("cookie", "b=2")
                .header("te", "trailers")
                .body(Full::new(Bytes::from("body")))
                .unwrap();
            let response = sender.send_request(request).await.unwrap();
            assert_eq!(response.status(), 201);
            assert!(response.headers().contains_key("x-request-id"));
            assert!(!response.headers().contains_key("connection"));
            assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "body");
        });
    }
    while let Some(stream) = streams.join_next().await {
        stream.unwrap();
    }
    let head = backend.head();
    assert_eq!(head.line, "POST /orders?x=1 HTTP/1.1");
    assert_eq!(head.get("host").as_deref(), Some("shop.example"));
    assert_eq!(head.get("cookie").as_deref(), Some("a=1; b=2"));
    assert_eq!(head.get("te").as_deref(), Some("trailers"));
    assert_eq!(head.get("via").as_deref(), Some("2 sixfold"));
}
