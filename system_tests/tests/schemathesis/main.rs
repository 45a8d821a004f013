//! The services as Schemathesis sees them: what their OpenAPI documents say is what they do, and no request, however
//! odd, is answered with 5xx. Its checks are the default ones, but for one where deletions are soft, and for 412, which a
//! condition that fits may be answered with, whatever the body is.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use system_tests::postgres::Server;
use system_tests::{House, Layout, free_port};

/// How long each service is tried, in seconds, unless `SIXFOLD_SCHEMATHESIS_SECONDS` says otherwise.
const TIME: &str = "15";

/// The seed, so that a fault that is found is found again, unless `SIXFOLD_SCHEMATHESIS_SEED` says otherwise.
const SEED: &str = "7";

/// A stream of changes has no end; what was deleted softly is still there for whoever asks for it by `deleted=only`.
const SETTINGS: &str = r#"
hooks = "hooks.py"

[checks.positive_data_acceptance]
expected-statuses = ["2xx", "3xx", "401", "403", "404", "409", "412", "429", "5xx"]

[checks.negative_data_rejection]
expected-statuses = ["400", "401", "403", "404", "405", "406", "409", "412", "415", "422", "428", "429", "5xx"]

[checks.missing_required_header]
expected-statuses = ["400", "401", "403", "404", "406", "412", "422", "428"]

[[operations]]
include-path-regex = "/changes$"
request-timeout = 0.2

[[operations]]
include-operation-id-regex = "^(read|history)_(loans|notes)$"
checks.use_after_free.enabled = false

# Either If-Match or If-None-Match is demanded, for which OpenAPI has no word.
[[operations]]
include-operation-id = "replace_tickets"

[operations.checks.positive_data_acceptance]
expected-statuses = ["2xx", "3xx", "401", "403", "404", "409", "412", "428", "429", "5xx"]
"#;

/// Gives a key that fits to one request only, as a client would; one used for another is 422, for which Schemathesis
/// has no words.
const HOOKS: &str = include_str!("hooks.py");

/// A service whose collections declare what the built-in ones do not.
const LIBRARY: &str = include_str!("library.toml");

fn setting(name: &str, default: &str) -> String {
    std::env::var(format!("SIXFOLD_SCHEMATHESIS_{name}")).unwrap_or_else(|_| default.to_owned())
}

/// Has Schemathesis try a service out, as somebody whom a gateway calls `ada`.
async fn try_out(port: u16, operations: usize) {
    let python = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/test-clients/python/bin/python");
    let scratch = tempfile::tempdir().unwrap();
    std::fs::write(scratch.path().join("schemathesis.toml"), SETTINGS).unwrap();
    std::fs::write(scratch.path().join("hooks.py"), HOOKS).unwrap();
    let mut command = Command::new(&python);
    command.args(["-m", "schemathesis.cli", "run", &format!("http://127.0.0.1:{port}/openapi.json")]);
    command.args(["--no-color", "--seed", &setting("SEED", SEED), "--max-time", &setting("SECONDS", TIME)]);
    command.args(["--header", "Sixfold-Subject: ada", "--header", "Sixfold-Roles: user"]);
    command.current_dir(scratch.path());
    let run = tokio::task::spawn_blocking(move || command.output()).await.unwrap();
    let output = run.unwrap_or_else(|error| {
        panic!("{}: {error}; system_tests/install.sh (make test) installs it", python.display())
    });
    let text = String::from_utf8_lossy(&output.stdout);
    let shown: String = text.chars().take(20_000).collect();
    assert!(output.status.success(), "{shown}\n{}", String::from_utf8_lossy(&output.stderr));
    let all = format!("Operations:       {operations} selected / {operations} total");
    assert!(
        text.contains(&all) && text.contains(&format!("Tested: {operations}")),
        "all were tried: {shown}"
    );
}

/// Writes what the library needs beside its settings, and gives those.
fn library(folder: &Path, port: u16) -> String {
    std::fs::write(folder.join("loans.json"), include_str!("loans.json")).unwrap();
    let key = folder.join("sensitive.key");
    std::fs::write(&key, "c2l4Zm9sZCBzY2hlbWF0aGVzaXMgdGVzdCBrZXkgMzI=\n").unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    LIBRARY.replace("FOLDER", &folder.display().to_string()).replace("LIBRARY", &port.to_string())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn schemathesis_finds_no_fault_in_the_services() {
    let house = House::start(Layout::Folded).await;
    for port in [house.ports.catalog, house.ports.orders] {
        try_out(port, 8).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn schemathesis_finds_no_fault_in_a_service_that_declares_everything() {
    let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
    let _house = House::start_with(Layout::Folded, &library(folder.path(), port)).await;
    try_out(port, 26).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn schemathesis_finds_no_fault_in_it_on_postgres() {
    let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
    let server = Server::start();
    let _house = House::start_on_postgres(Layout::Folded, &library(folder.path(), port), &server).await;
    try_out(port, 26).await;
}
