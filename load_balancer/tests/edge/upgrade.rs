//! WebSockets and other changes of protocol pass through.

use crate::support::{Backend, config, start};

#[tokio::test]
async fn after_an_upgrade_bytes_pass_both_ways() {
    let backend = Backend::start(|head, mut client| async move {
        if !head.to_lowercase().contains("upgrade: echo") {
            client.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
            return Some(client);
        }
        client
            .send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nhello\n")
            .await;
        while let Some(line) = client.read_past("\n").await {
            client.send(&line.to_uppercase()).await;
        }
        None
    })
    .await;
    let balancer = start(&config(&[backend.address]));
    let mut client = balancer.connect().await;
    client
        .send("GET /chat HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: echo\r\n\r\n")
        .await;
    let head = client.read_head().await.unwrap().to_lowercase();
    assert!(head.starts_with("http/1.1 101"), "{head}");
    assert!(head.contains("upgrade: echo") && head.contains("connection: upgrade"), "{head}");
    assert_eq!(client.read_past("\n").await.unwrap(), "hello\n");
    for line in ["one\n", "two\n"] {
        client.send(line).await;
        assert_eq!(client.read_past("\n").await.unwrap(), line.to_uppercase());
    }
    assert_eq!(backend.head().get("connection").as_deref(), Some("upgrade"));
    drop(client);
    balancer.wait_until(|backends| backends[0].in_flight == 0).await;
}

#[tokio::test]
async fn a_backend_may_decline_an_upgrade() {
    let backend = Backend::answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    let balancer = start(&config(&[backend.address]));
    let mut client = balancer.connect().await;
    for _ in 0..2 {
        let request = "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
        assert_eq!(client.exchange(request).await.body, "ok");
    }
}
