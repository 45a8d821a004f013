//! TLS to a PostgreSQL server that takes nothing else.

#![allow(clippy::unwrap_used, reason = "a test's helper fails the test")]

use std::path::Path;
use std::time::Duration;

use database::{Config, Database, Engine, OpenError};
use system_tests::postgres::Server;

fn open(url: &str) -> Result<Engine, OpenError> {
    Engine::open(&Config { url: url.parse().unwrap(), ..Config::default() }, Path::new("none"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_reached_over_tls_and_only_if_its_certificate_is_trusted() {
    let server = Server::start();
    let trusted = server.require_tls();
    let plain = open(&server.url()).unwrap_err().to_string();
    assert!(plain.contains("no encryption"), "{plain}");
    let url = |roots: &Path| format!("{}?sslmode=verify-full&sslrootcert={}", server.url(), roots.display());
    let engine = open(&url(&trusted)).unwrap();
    let database = Database::Local(engine.clone());
    assert_eq!(database.changes(None, 0, 1, Duration::ZERO).await.unwrap(), []);
    engine.close();

    let other = tempfile::tempdir().unwrap();
    let file = other.path().join("other.pem");
    let stranger = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    std::fs::write(&file, stranger.cert.pem()).unwrap();
    let refused = open(&url(&file)).unwrap_err().to_string();
    assert!(refused.contains("certificate"), "{refused}");
    let missing = open(&url(Path::new("/nothing"))).unwrap_err().to_string();
    assert!(missing.contains("sslrootcert /nothing") && !missing.contains("ss%20word"), "{missing}");
}
