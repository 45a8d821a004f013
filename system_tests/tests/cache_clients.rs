//! The cache as other people's clients see it: redis-cli, redis-py, ioredis.

use std::path::PathBuf;
use std::process::{Command, Output};

use system_tests::{House, Layout};

/// Where `system_tests/install.sh` puts the Python and Node clients.
fn clients() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/test-clients")
}

fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| {
        panic!("{command:?}: {error}; system_tests/install.sh (make test) installs it")
    });
    assert!(
        output.status.success(),
        "{command:?}\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

#[tokio::test]
async fn redis_cli_works_against_the_cache() {
    let house = House::start(Layout::Folded).await;
    let port = house.ports.resp.to_string();
    let ask = |arguments: &[&str]| {
        let output = run(Command::new("redis-cli").args(["-p", &port]).args(arguments));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    assert_eq!(ask(&["PING"]), "PONG");
    assert_eq!(ask(&["SET", "lamp", "12.5", "EX", "60"]), "OK");
    assert_eq!(ask(&["GET", "lamp"]), "12.5");
    assert_eq!(ask(&["TTL", "lamp"]), "60");
    assert_eq!(ask(&["INCR", "counter"]), "1");
    assert_eq!(ask(&["-3", "GET", "lamp"]), "12.5");
    assert!(ask(&["LPUSH", "list", "1"]).starts_with("ERR unknown command"));
    assert!(ask(&["INFO"]).contains("used_memory"));
}

#[tokio::test]
async fn redis_py_works_against_the_cache() {
    let house = House::start(Layout::Folded).await;
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("clients/redis_py.py");
    run(Command::new(clients().join("python/bin/python")).arg(script).arg(house.ports.resp.to_string()));
}

#[tokio::test]
async fn ioredis_works_against_the_cache() {
    let house = House::start(Layout::Folded).await;
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("clients/ioredis.js");
    let modules = clients().join("node_modules");
    run(Command::new("node").arg(script).arg(house.ports.resp.to_string()).env("NODE_PATH", modules));
}
