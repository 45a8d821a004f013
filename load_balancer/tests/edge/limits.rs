//! What a client is granted, and what is counted.

use std::time::Duration;

use crate::support::{Backend, PATIENCE, config, start};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

#[tokio::test]
async fn a_client_that_dawdles_over_its_head_is_let_go() {
    let backend = Backend::answering(OK).await;
    let mut config = config(&[backend.address]);
    config.header_timeout = Duration::from_millis(1);
    let balancer = start(&config);
    let mut dawdling = balancer.connect().await;
    dawdling.send("GET / HTTP/1.1\r\nHo").await;
    let mut idle = balancer.connect().await;
    idle.exchange(GET).await;
    let refused = dawdling.read_response(false).await;
    assert_eq!((refused.status(), refused.problem().as_str()), (408, "request-timeout"));
    assert_eq!(refused.head.get("connection").as_deref(), Some("close"));
    assert!(dawdling.is_closed().await);
    assert_eq!(idle.exchange(GET).await.status(), 200, "an idle connection has another limit");
}

#[tokio::test]
async fn an_idle_connection_is_let_go() {
    let backend = Backend::answering(OK).await;
    let mut config = config(&[backend.address]);
    config.idle_timeout = Duration::from_millis(1);
    let balancer = start(&config);
    let (mut used, mut silent) = (balancer.connect().await, balancer.connect().await);
    used.exchange(GET).await;
    assert!(used.is_closed().await);
    assert!(silent.is_closed().await);
}

#[tokio::test]
async fn more_connections_than_allowed_wait_for_a_place() {
    let backend = Backend::answering(OK).await;
    let mut config = config(&[backend.address]);
    config.max_connections = 1;
    let balancer = start(&config);
    let mut first = balancer.connect().await;
    first.exchange(GET).await;
    let mut second = balancer.connect().await;
    second.send(GET).await;
    first.exchange(GET).await;
    assert_eq!(backend.count(), 2, "the second connection is not served yet");
    drop(first);
    assert_eq!(second.read_response(false).await.status(), 200);
}

#[tokio::test]
async fn what_happens_is_counted_for_prometheus() {
    let backend = Backend::answering(OK).await;
    let balancer = start(&config(&[backend.address]));
    balancer.exchange(GET).await;
    let sent =
        format!(r#"sixfold_backend_requests_total{{backend="{}",cluster="gateways"}} 1"#, backend.address);
    let up = format!(r#"sixfold_backend_up{{backend="{}",cluster="gateways"}} 1"#, backend.address);
    let answered = r#"sixfold_requests_total{role="load-balancer",status="200"}"#;
    let counting = async {
        loop {
            let text = String::from_utf8(process::metrics::render()).unwrap();
            if [&sent, &up, answered].iter().all(|line| text.contains(*line)) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, counting).await.expect("the figures appear");
}
