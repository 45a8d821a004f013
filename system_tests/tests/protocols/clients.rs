//! Real client libraries.

use std::path::PathBuf;
use std::process::Command;

use system_tests::{Alone, free_port, local};

/// Runs a script of `clients/` in Python with the ports of a balancer and of the backend the script is.
fn run(script: &str, keys: &str) {
    run_with("../target/test-clients/python/bin/python", script, keys);
}

fn run_with(interpreter: &str, script: &str, keys: &str) {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let interpreter = if interpreter.contains('/') { folder.join(interpreter) } else { interpreter.into() };
    let backend = free_port();
    let balancer = Alone::balancer(&[local(backend)], keys);
    let output = Command::new(interpreter)
        .arg(folder.join("clients").join(script))
        .args([balancer.address.port().to_string(), backend.to_string()])
        .output()
        .expect("run `make test-needs` first");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{}", balancer.log());
}

/// The servers of the scripts know no path of ours, so a connection is all a probe asks for.
const HEALTH: &str = "[load_balancer.health]\npath = \"\"\ninterval = \"100ms\"\n";

#[test]
fn websockets_pass_through() {
    run("websocket.py", HEALTH);
}

#[test]
fn grpc_passes_through_with_http2_on_both_sides() {
    run("grpc_echo.py", &format!("protocol = \"h2\"\n{HEALTH}"));
}

#[test]
fn early_hints_and_100_pass_from_a_backend_of_http2_to_clients_of_either_http() {
    run_with("node", "interim.js", &format!("protocol = \"h2\"\n{HEALTH}"));
}
