//! TLS as curl speaks it.

use std::path::Path;
use std::process::Command;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustix::process::Signal;
use system_tests::Alone;
use system_tests::recorder::Recorder;

/// Writes a certificate of a host and its key into a folder.
fn write_certificate(folder: &Path, host: &str) {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(vec![host.to_owned()]).expect("a certificate");
    std::fs::write(folder.join(format!("{host}.pem")), cert.pem()).expect("the certificate");
    std::fs::write(folder.join(format!("{host}.key")), signing_key.serialize_pem()).expect("the key");
}

/// Asks for `/x` of a host, believing only one certificate; gives the body and the version of HTTP, or why not.
fn curl(balancer: &Alone, host: &str, certificate: &Path, more: &[&str]) -> Result<String, String> {
    let port = balancer.address.port();
    let output = Command::new("curl")
        .args(["-sS", "--max-time", "10", "-w", " %{http_version}", "--resolve"])
        .arg(format!("{host}:{port}:127.0.0.1"))
        .arg("--cacert")
        .arg(certificate)
        .args(more)
        .arg(format!("https://{host}:{port}/x"))
        .output()
        .expect("curl runs");
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

#[test]
fn curl_gets_the_certificate_of_the_host_it_names_and_the_protocol_it_offers() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    for host in ["a.test", "b.test"] {
        write_certificate(folder, host);
    }
    let entry = |host: &str| {
        let file = |end: &str| folder.join(format!("{host}.{end}")).display().to_string();
        format!("{{ cert = \"{}\", key = \"{}\" }}", file("pem"), file("key"))
    };
    let keys = format!("[load_balancer.tls]\ncertificates = [{}, {}]\n", entry("a.test"), entry("b.test"));
    let backend = Recorder::start();
    let balancer = Alone::balancer(&[backend.address()], &keys);
    let (a, b) = (folder.join("a.test.pem"), folder.join("b.test.pem"));
    for (host, certificate) in [("a.test", &a), ("b.test", &b)] {
        assert_eq!(
            curl(&balancer, host, certificate, &["--http2"]),
            Ok("/x 2".to_owned()),
            "{}",
            balancer.log()
        );
        assert_eq!(curl(&balancer, host, certificate, &["--http1.1"]), Ok("/x 1.1".to_owned()));
        assert_eq!(curl(&balancer, host, certificate, &["--tls-max", "1.2"]), Ok("/x 2".to_owned()));
    }
    let refused = curl(&balancer, "b.test", &a, &[]).expect_err("the other host's certificate");
    assert!(refused.contains("certificate"), "{refused}");

    // A new certificate is taken up on SIGHUP.
    write_certificate(folder, "a.test");
    curl(&balancer, "a.test", &a, &[]).expect_err("the old certificate is still in use");
    balancer.signal(Signal::HUP);
    let began = std::time::Instant::now();
    while curl(&balancer, "a.test", &a, &[]).is_err() {
        assert!(began.elapsed().as_secs() < 20, "{}", balancer.log());
    }
}
