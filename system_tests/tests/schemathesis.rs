//! The services as Schemathesis sees them: what their OpenAPI documents say is what they do, and no request, however
//! odd, is answered with 5xx.

use std::path::PathBuf;
use std::process::Command;

use system_tests::{House, Layout};

/// How long each service is tried, in seconds.
const TIME: &str = "10";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn schemathesis_finds_no_fault_in_the_services() {
    let house = House::start(Layout::Folded).await;
    let python = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/test-clients/python/bin/python");
    let scratch = tempfile::tempdir().unwrap();
    for port in [house.ports.catalog, house.ports.orders] {
        let mut command = Command::new(&python);
        command.args(["-m", "schemathesis.cli"]);
        // The seed is fixed, so that a fault that is found is found again.
        command.args(["run", &format!("http://127.0.0.1:{port}/openapi.json"), "--seed", "7", "--no-color"]);
        command.args(["--max-time", TIME]).current_dir(scratch.path());
        let run = tokio::task::spawn_blocking(move || command.output()).await.unwrap();
        let output = run.unwrap_or_else(|error| {
            panic!("{}: {error}; system_tests/install.sh (make test) installs it", python.display())
        });
        let text = String::from_utf8_lossy(&output.stdout);
        let shown: String = text.chars().take(20_000).collect();
        assert!(output.status.success(), "{shown}\n{}", String::from_utf8_lossy(&output.stderr));
        assert!(text.contains("Operations:       6 selected"), "all operations were tried: {shown}");
    }
}
