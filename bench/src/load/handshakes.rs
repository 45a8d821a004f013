//! A client that shakes hands over and over: TLS, one request, and the connection is closed.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned};

use super::Run;
use crate::certificate::Certificate;

/// Shakes hands one after the other for some time; with `resume`, with the ticket of the one before.
pub(crate) fn run(
    port: u16,
    certificate: &Certificate,
    resume: bool,
    duration: Duration,
) -> anyhow::Result<Run> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.der.clone())?;
    let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.resumption = if resume { Resumption::in_memory_sessions(16) } else { Resumption::disabled() };
    let config = Arc::new(config);
    let began = Instant::now();
    let (mut requests, mut resumed, mut errors) = (0, 0, 0);
    while began.elapsed() < duration {
        match exchange(port, &config) {
            Ok(HandshakeKind::Resumed) => resumed += 1,
            Ok(_) => {}
            Err(error) if requests == 0 => return Err(error),
            Err(_) => errors += 1,
        }
        requests += 1;
    }
    // The first has no ticket yet.
    if resume {
        errors += requests - 1 - resumed;
    } else {
        errors += resumed;
    }
    let rate = requests as f64 / began.elapsed().as_secs_f64();
    let raw = format!("{requests} handshakes, {resumed} of them resumed, {rate:.0} a second\n");
    Ok(Run { requests, rate, p99: None, errors, raw })
}

fn exchange(port: u16, config: &Arc<ClientConfig>) -> anyhow::Result<HandshakeKind> {
    let connection = ClientConnection::new(Arc::clone(config), ServerName::try_from("localhost")?)?;
    let socket = TcpStream::connect(("127.0.0.1", port))?;
    socket.set_nodelay(true)?;
    let mut stream = StreamOwned::new(connection, socket);
    stream.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    // Not every server ends TLS before it closes the connection; the answer tells whether it is whole.
    let _ = stream.read_to_end(&mut answer);
    anyhow::ensure!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    stream.conn.handshake_kind().ok_or_else(|| anyhow::anyhow!("no handshake"))
}
