//! Stopping: what is in flight is finished, what is idle is closed.

use process::Reload;
use tokio::net::TcpStream;

use crate::support::{Backend, config, start};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

#[tokio::test]
async fn stopping_finishes_what_is_in_flight_and_closes_what_is_idle() {
    let (backend, held) =
        Backend::holding("GET / ", "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone").await;
    let mut config = config(&[backend.address]);
    config.threads = 2;
    let balancer = start(&config);
    let mut idle = balancer.connect().await;
    idle.exchange("GET /quick HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut silent = balancer.connect().await;
    let mut busy = balancer.connect().await;
    busy.send(GET).await;
    held.arrived.notified().await;
    balancer.shutdown.request();
    assert!(idle.is_closed().await);
    assert!(silent.is_closed().await);
    held.goes_on.notify_one();
    let response = busy.read_response(false).await;
    assert_eq!((response.status(), response.body.as_str()), (200, "done"));
    assert!(busy.is_closed().await);
    let address = balancer.address;
    balancer.ended().await.unwrap();
    assert!(TcpStream::connect(address).await.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn half_a_head_is_not_waited_for_when_stopping() {
    let backend = Backend::answering("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    let bound = load_balancer::bind(Reload::fixed(config(&[backend.address]))).unwrap();
    let address = bound.address().unwrap();
    // Far longer than the test's patience.
    let shutdown = process::Shutdown::new(std::time::Duration::from_secs(3600));
    let client = async {
        let mut halves = Vec::new();
        for half in ["GET / HTTP/1.1\r\nHo", "P", "PRI * HT"] {
            let mut client = crate::support::Client::new(TcpStream::connect(address).await.unwrap());
            client.send(half).await;
            halves.push((half, client));
        }
        let mut whole = crate::support::Client::new(TcpStream::connect(address).await.unwrap());
        // The first was read when the second is answered.
        whole.exchange(GET).await;
        whole.send("GET / HTTP/1.1\r\nHo").await;
        shutdown.request();
        for (half, client) in &mut halves {
            assert!(client.is_closed_whatever_was_sent().await, "{half}");
        }
        assert!(whole.is_closed().await);
    };
    let (ended, ()) = tokio::join!(
        async { tokio::time::timeout(crate::support::PATIENCE, bound.run(shutdown.clone())).await },
        client
    );
    ended.expect("the role ends").unwrap();
}

#[tokio::test]
async fn the_grace_is_the_end_of_waiting() {
    let backend = Backend::start(|_, client| async move {
        let _open = client;
        std::future::pending().await
    })
    .await;
    let mut config = config(&[backend.address]);
    config.health.path = String::new();
    let bound = load_balancer::bind(Reload::fixed(config.clone())).unwrap();
    let address = bound.address().unwrap();
    let shutdown = process::Shutdown::new(std::time::Duration::from_millis(50));
    let run = bound.run(shutdown.clone());
    let client = async {
        let mut client = crate::support::Client::new(TcpStream::connect(address).await.unwrap());
        client.send(GET).await;
        while backend.count() == 0 {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        shutdown.request();
        assert!(client.is_closed().await);
    };
    let (ended, ()) = tokio::join!(run, client);
    ended.unwrap();
}

#[tokio::test]
async fn a_request_that_waits_to_be_accepted_is_answered_when_stopping() {
    let backend = Backend::answering("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone").await;
    let bound = load_balancer::bind(Reload::fixed(config(&[backend.address]))).unwrap();
    let stream = TcpStream::connect(bound.address().unwrap()).await.unwrap();
    let mut client = crate::support::Client::new(stream);
    client.send(GET).await;
    let shutdown = process::Shutdown::new(std::time::Duration::from_secs(5));
    shutdown.request();
    let (ended, response) = tokio::join!(bound.run(shutdown), client.read_response(false));
    ended.unwrap();
    assert_eq!(response.body, "done");
    assert!(client.is_closed().await);
}
