//! The load balancer alone, before servers that know nothing of sixfold.

use std::process::{Child, Command, Stdio};

use axum::Router;
use axum::routing::get;
use system_tests::{Client, binary, free_port, wait_until};

/// A process that ends with the test.
struct Guard(Child);

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn a_config_of_one_section_is_a_working_balancer() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let backend = listener.local_addr().expect("its address");
    let router = Router::new().route("/hello", get(|| async { "hello" }));
    let mut server = tokio::task::JoinSet::new();
    server.spawn(async move { axum::serve(listener, router).await });

    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("sixfold.toml");
    let port = free_port();
    let text =
        format!("[load_balancer]\nlisten = \"127.0.0.1:{port}\"\nthreads = 1\nbackends = [\"{backend}\"]\n");
    std::fs::write(&file, text).expect("the file");
    let admin = free_port();
    let child = Command::new(binary())
        .args(["load-balancer", "--admin", &format!("127.0.0.1:{admin}"), "--config"])
        .arg(&file)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary starts");
    let _guard = Guard(child);

    let client = Client::new(format!("http://127.0.0.1:{port}"));
    wait_until("the balancer answers", || async {
        matches!(client.try_send("GET", "/hello", &[], "").await, Ok(reply) if reply.body == "hello")
    })
    .await;
    assert_eq!(client.get("/elsewhere").await.status, 404, "the server's own answer passes through");
    let admin = Client::new(format!("http://127.0.0.1:{admin}"));
    let backends = admin.get("/v1/backends").await.json();
    assert_eq!(backends["backends"][0]["address"], backend.to_string());
    let metrics = admin.get("/metrics").await;
    assert!(String::from_utf8_lossy(&metrics.body).contains("sixfold_"), "{metrics:?}");
}
