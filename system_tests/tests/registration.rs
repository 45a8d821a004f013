//! A balancer that is told of no gateway, and gateways that join it by themselves.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use rustix::process::{Pid, Signal, kill_process};
use system_tests::{Client, binary, free_port, wait_until};

/// A process that ends with the test.
struct Process(Child);

impl Process {
    fn start(config: &Path, arguments: &[&str]) -> Self {
        let child = Command::new(binary())
            .args(arguments)
            .arg("--config")
            .arg(config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the binary starts");
        Self(child)
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw).expect("a process ID");
        kill_process(pid, signal).expect("the process takes the signal");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits for a process's end without holding up what else the test does.
async fn end_of(child: &mut Child) -> std::process::ExitStatus {
    loop {
        if let Some(status) = child.try_wait().expect("a child's state") {
            return status;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Names the backends that are up.
async fn up(admin: &Client) -> Vec<String> {
    let Ok(reply) = admin.try_send("GET", "/v1/backends", &[], "").await else { return Vec::new() };
    let document = reply.json();
    let backends = document["backends"].as_array().cloned().unwrap_or_default();
    let up = backends.iter().filter(|backend| backend["state"] == "up");
    up.filter_map(|backend| backend["address"].as_str().map(str::to_owned)).collect()
}

#[tokio::test]
async fn gateways_join_leave_without_a_lost_request_and_are_missed_when_killed() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let service = listener.local_addr().expect("its address");
    let router = Router::new().route("/hello", get(|| async { "hello" }));
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(async move {
        let _ = axum::serve(listener, router).await;
    });

    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("sixfold.toml");
    let (port, admin_port) = (free_port(), free_port());
    let text = format!(
        r#"
[cluster]
token = "the-cluster-token"
[services]
web = {{ instances = ["{service}"] }}
[load_balancer]
listen = "127.0.0.1:{port}"
backends = []
[load_balancer.health]
interval = "100ms"
[api_gateway]
default_routes = false
register_lease = "1s"
routes = [{{ path = "/{{*rest}}", service = "web", public = true }}]
[api_gateway.token]
jwks_service = "nobody"
"#
    );
    std::fs::write(&config, text).expect("the file");
    let admin_address = format!("127.0.0.1:{admin_port}");
    let _balancer = Process::start(&config, &["load-balancer", "--admin", &admin_address]);
    let client = Client::new(format!("http://127.0.0.1:{port}"));
    wait_until("the balancer answers", || async { client.try_send("GET", "/hello", &[], "").await.is_ok() })
        .await;
    assert_eq!(client.get("/hello").await.problem(), "no-backend");

    let url = format!("http://{admin_address}");
    let admin = Client::new(&url).with_token("the-cluster-token");
    let stranger = Client::new(&url).send("PUT", "/v1/backends/127.0.0.1:1", &[], "{}").await;
    assert_eq!(stranger.problem(), "unauthenticated");

    let addresses = [free_port(), free_port()].map(|port| format!("127.0.0.1:{port}"));
    let mut gateways = addresses.each_ref().map(|listen| {
        let arguments = ["gateway", "--listen", listen, "--admin", "127.0.0.1:0", "--register", &url];
        Process::start(&config, &arguments)
    });
    wait_until("both are in the rotation", || async { up(&admin).await.len() == 2 }).await;

    // Under load one is told to stop: no request may notice.
    let stop = Arc::new(AtomicBool::new(false));
    let mut load = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let (client, stop) = (client.clone(), stop.clone());
        load.spawn(async move {
            let mut count = 0_usize;
            while !stop.load(Relaxed) {
                // A POST is never sent twice, so nothing covers for a port that closed too early.
                let reply = client.send("POST", "/hello", &[], "x").await;
                assert_eq!(reply.status, 405, "the service's own answer: {reply:?}");
                count += 1;
            }
            count
        });
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    gateways[0].signal(Signal::TERM);
    let ended = end_of(&mut gateways[0].0).await;
    assert!(ended.success(), "{ended}");
    assert_eq!(up(&admin).await, [addresses[1].clone()]);
    stop.store(true, Relaxed);
    while let Some(count) = load.join_next().await {
        assert!(count.expect("no request failed") > 0);
    }

    gateways[1].signal(Signal::KILL);
    wait_until("its lease runs out", || async {
        let reply = admin.get("/v1/backends").await.json();
        reply["backends"].as_array().is_some_and(Vec::is_empty)
    })
    .await;
    assert_eq!(client.get("/hello").await.problem(), "no-backend");
}
