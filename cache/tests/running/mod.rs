//! A cache role on free ports, stopped with the test.

#![allow(
    dead_code,
    clippy::expect_used,
    unreachable_pub,
    missing_docs,
    reason = "each test file uses a part of it"
)]

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use process::{ClusterToken, Secret, Shutdown};
use tokio::task::JoinSet;

pub struct Running {
    pub http: SocketAddr,
    pub resp: SocketAddr,
    pub shutdown: Shutdown,
    pub tasks: JoinSet<Result<(), process::RoleError>>,
}

pub fn token(secret: &str) -> ClusterToken {
    ClusterToken::new(Some(Secret::new(secret)))
}

pub fn config() -> cache::Config {
    let free = "127.0.0.1:0".to_owned();
    cache::Config { listen: free.clone(), resp_listen: free, ..cache::Config::default() }
}

pub fn start(config: &cache::Config, token: &ClusterToken) -> Running {
    let bound = cache::bind(config, token).unwrap();
    let addresses: Vec<_> = bound.listening.iter().map(|listening| listening.address).collect();
    let shutdown = Shutdown::new(Duration::from_secs(5));
    let mut tasks = JoinSet::new();
    tasks.spawn(bound.run(shutdown.clone()));
    Running { http: addresses[0], resp: addresses[1], shutdown, tasks }
}

/// A real Redis; it ends with the test.
pub struct Redis(Child);

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub async fn redis() -> (Redis, SocketAddr) {
    let address = process::listen::Reserved::take().unwrap().until_exit();
    let port = address.port().to_string();
    let child = Command::new("redis-server")
        .args([
            "--port",
            &port,
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "no",
            "--databases",
            "1",
        ])
        .stdout(Stdio::null())
        .spawn()
        .expect("redis-server is needed for this test: `make test` installs it");
    let mut redis = Redis(child);
    while tokio::net::TcpStream::connect(address).await.is_err() {
        assert!(redis.0.try_wait().unwrap().is_none(), "redis-server ended at once");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    (redis, address)
}
