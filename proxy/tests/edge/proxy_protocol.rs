//! The PROXY protocol at a listener and towards backends.

use std::time::Duration;

use proxy::Target;
use proxy::fields::TrustedProxies;
use proxy::proxy_protocol::{Addresses, write};
use proxy::server::{Limits, Options};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{Echo, get, soon, start};

fn options(trusted: &str) -> Options {
    Options {
        limits: Limits { header_timeout: Duration::from_millis(200), ..Limits::default() },
        proxy_protocol: Some(TrustedProxies::parse(&[trusted.to_owned()]).unwrap()),
        tls: None,
    }
}

fn told() -> Addresses {
    Addresses { source: "192.0.2.7:4000".parse().unwrap(), destination: "198.51.100.1:443".parse().unwrap() }
}

#[tokio::test]
async fn the_client_is_who_the_header_says() {
    let backend = Echo::start().await;
    let running = start(options("127.0.0.0/8"), Target::plain(backend.address));
    let mut with_line = running.connect().await;
    with_line.write_all(b"PROXY TCP4 192.0.2.7 198.51.100.1 4000 443\r\n").await.unwrap();
    assert!(get(&mut with_line, "/").await.contains("x-forwarded-for: 192.0.2.7\r\n"));
    assert!(get(&mut with_line, "/").await.contains("x-forwarded-for: 192.0.2.7\r\n"), "also later");
    let mut in_pieces = running.connect().await;
    for byte in write(Some(told())) {
        in_pieces.write_all(&[byte]).await.unwrap();
    }
    assert!(get(&mut in_pieces, "/").await.contains("x-forwarded-for: 192.0.2.7\r\n"));
    let mut own = running.connect().await;
    own.write_all(&write(None)).await.unwrap();
    assert!(get(&mut own, "/").await.contains("x-forwarded-for: 127.0.0.1\r\n"));
}

#[tokio::test]
async fn without_a_whole_header_from_a_trusted_address_nothing_is_served() {
    let backend = Echo::start().await;
    let trusting = start(options("127.0.0.0/8"), Target::plain(backend.address));
    let wary = start(options("10.0.0.0/8"), Target::plain(backend.address));
    let request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let line = b"PROXY TCP4 192.0.2.7 198.51.100.1 4000 443\r\n";
    let mut too_long = write(Some(told()));
    too_long[14..16].copy_from_slice(&60_000_u16.to_be_bytes());
    let cases: [(&_, Vec<u8>); 7] = [
        (&trusting, request.to_vec()),
        (&trusting, [&b"PROXY TCP4 nonsense\r\n"[..], request].concat()),
        (&trusting, b"PROXY TCP4 192.0.2.7".to_vec()),
        (&trusting, [b"PROXY ".to_vec(), vec![b'a'; 200]].concat()),
        (&trusting, write(Some(told()))[..20].to_vec()),
        (&trusting, [too_long, request.to_vec()].concat()),
        (&wary, [&line[..], request].concat()),
    ];
    for (running, sent) in cases {
        let mut stream = running.connect().await;
        stream.write_all(&sent).await.unwrap();
        let mut rest = Vec::new();
        let _ = soon(stream.read_to_end(&mut rest)).await;
        assert!(rest.is_empty(), "{}", String::from_utf8_lossy(&sent));
    }
    assert!(backend.text().is_empty());
}

#[tokio::test]
async fn a_backend_that_asks_is_told_of_each_client_on_connections_of_its_own() {
    let backend = Echo::start().await;
    let target = Target { proxy_header: true, ..Target::plain(backend.address) };
    let running = start(options("127.0.0.0/8"), target);
    for port in [4000_u16, 4001] {
        let client = Addresses { source: format!("192.0.2.7:{port}").parse().unwrap(), ..told() };
        let mut stream = running.connect().await;
        stream.write_all(&write(Some(client))).await.unwrap();
        assert!(get(&mut stream, "/").await.starts_with("HTTP/1.1 200"));
        let recorded = backend.recorded.lock().unwrap();
        assert!(recorded.last().unwrap().starts_with(&write(Some(client))));
    }
    assert_eq!(backend.text().len(), 2);
}
