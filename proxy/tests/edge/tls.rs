//! TLS on both sides: certificates, sessions, trust.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use proxy::connect::{Protocol, Secured};
use proxy::server::{Limits, Options};
use proxy::tls::{self, Acceptor, Backend, CertificateFiles};
use proxy::{Connector, Stream, Target};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{HandshakeKind, ServerConfig, SupportedProtocolVersion, version};
use tokio_rustls::{TlsAcceptor, TlsConnector, rustls};

use crate::support::{Echo, PATIENCE, echo, get, soon, start};

/// An authority and the files it signs.
pub(crate) struct Authority {
    folder: TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { folder, issuer }
    }

    pub(crate) fn ca(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    pub(crate) fn sign(&self, stem: &str, names: &[&str]) -> CertificateFiles {
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let signed = CertificateParams::new(names).unwrap().signed_by(&key, &self.issuer).unwrap();
        let path = |end: &str| self.folder.path().join(format!("{stem}.{end}"));
        std::fs::write(path("pem"), signed.pem()).unwrap();
        std::fs::write(path("key"), key.serialize_pem()).unwrap();
        CertificateFiles { cert: path("pem"), key: path("key") }
    }

    fn roots(&self) -> Arc<rustls::RootCertStore> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        Arc::new(roots)
    }

    /// A client that trusts it and remembers sessions.
    fn client(&self, alpn: &[&str], version: &'static SupportedProtocolVersion) -> TlsConnector {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut config = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(self.roots())
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        TlsConnector::from(Arc::new(config))
    }

    pub(crate) fn trusted(&self) -> Backend {
        Backend { ca: Some(self.ca()), ..Backend::default() }
    }
}

fn config(certificates: &[CertificateFiles]) -> tls::Config {
    tls::Config { certificates: certificates.to_vec(), ..tls::Config::default() }
}

fn options(config: &tls::Config) -> (Options, Acceptor) {
    let acceptor = Acceptor::new(config, "tls").unwrap();
    (Options { tls: Some(acceptor.clone()), ..Options::default() }, acceptor)
}

type ClientStream = tokio_rustls::client::TlsStream<TcpStream>;

async fn shake(
    client: &TlsConnector,
    address: std::net::SocketAddr,
    host: &str,
) -> std::io::Result<ClientStream> {
    let socket = TcpStream::connect(address).await.unwrap();
    soon(client.connect(ServerName::try_from(host.to_owned()).unwrap(), socket)).await
}

fn kind(stream: &ClientStream) -> HandshakeKind {
    stream.get_ref().1.handshake_kind().unwrap()
}

#[tokio::test]
async fn a_client_under_tls_is_forwarded_as_such() {
    let (authority, backend) = (Authority::new(), Echo::start().await);
    let (options, _) = options(&config(&[authority.sign("a", &["a.example"])]));
    let running = start(options, Target::plain(backend.address));
    let client = authority.client(&["http/1.1"], &version::TLS13);
    let mut stream = shake(&client, running.address, "a.example").await.unwrap();
    assert!(get(&mut stream, "/").await.contains("x-forwarded-proto: https\r\n"));
    assert!(get(&mut stream, "/again").await.contains("GET /again "), "the connection is kept");
}

#[tokio::test]
async fn alpn_decides_which_http_is_spoken() {
    let (authority, backend) = (Authority::new(), Echo::start().await);
    let (options, _) = options(&config(&[authority.sign("a", &["a.example"])]));
    let running = start(options, Target::plain(backend.address));
    let client = authority.client(&["h2", "http/1.1"], &version::TLS13);
    let stream = shake(&client, running.address, "a.example").await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (sender, connection) = h2::client::handshake(stream).await.unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(connection);
    let request = http::Request::get("https://a.example/two").body(()).unwrap();
    let (response, _) = sender.ready().await.unwrap().send_request(request, true).unwrap();
    let mut body = soon(response).await.unwrap().into_body();
    let text = soon(body.data()).await.unwrap().unwrap();
    assert!(String::from_utf8_lossy(&text).contains("x-forwarded-proto: https\r\n"));
}

#[tokio::test]
async fn a_session_is_resumed_also_after_a_reload() {
    for version in [&version::TLS13, &version::TLS12] {
        let (authority, backend) = (Authority::new(), Echo::start().await);
        let config = config(&[authority.sign("a", &["a.example"])]);
        let (options, acceptor) = options(&config);
        let running = start(options, Target::plain(backend.address));
        let client = authority.client(&["http/1.1"], version);
        let mut first = shake(&client, running.address, "a.example").await.unwrap();
        assert_eq!(kind(&first), HandshakeKind::Full);
        // Tickets of TLS 1.3 come after the handshake, and are taken in while reading.
        get(&mut first, "/").await;
        let mut second = shake(&client, running.address, "a.example").await.unwrap();
        assert_eq!(kind(&second), HandshakeKind::Resumed, "{version:?}");
        get(&mut second, "/").await;
        acceptor.reload(&config, "tls").unwrap();
        let third = shake(&client, running.address, "a.example").await.unwrap();
        assert_eq!(kind(&third), HandshakeKind::Resumed, "{version:?}");
    }
}

#[tokio::test]
async fn a_reload_changes_certificates_and_touches_no_connection() {
    let (authority, backend) = (Authority::new(), Echo::start().await);
    let (first, second) = (authority.sign("a", &["a.example"]), authority.sign("b", &["b.example"]));
    let (options, acceptor) = options(&config(std::slice::from_ref(&first)));
    let running = start(options, Target::plain(backend.address));
    let client = || authority.client(&["http/1.1"], &version::TLS13);
    let mut open = shake(&client(), running.address, "a.example").await.unwrap();
    get(&mut open, "/").await;
    assert!(shake(&client(), running.address, "b.example").await.is_err(), "nobody bears that name");
    acceptor.reload(&config(&[first.clone(), second]), "tls").unwrap();
    shake(&client(), running.address, "b.example").await.unwrap();
    assert!(get(&mut open, "/").await.starts_with("HTTP/1.1 200"));
    let broken = CertificateFiles { key: PathBuf::from("/none"), ..first };
    acceptor.reload(&config(&[broken]), "tls").unwrap_err();
    shake(&client(), running.address, "b.example").await.expect("after a failed reload all is as it was");
}

#[tokio::test]
async fn who_does_not_shake_hands_is_closed() {
    let (authority, backend) = (Authority::new(), Echo::start().await);
    let config = tls::Config {
        handshake_timeout: Duration::from_millis(100),
        ..config(&[authority.sign("a", &["a.example"])])
    };
    let running = start(options(&config).0, Target::plain(backend.address));
    for sent in [&b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..], b"", b"\x16\x03\x01"] {
        let mut stream = running.connect().await;
        stream.write_all(sent).await.unwrap();
        let mut rest = Vec::new();
        let _ = soon(stream.read_to_end(&mut rest)).await;
        assert!(rest.len() <= 7, "an alert at most: {rest:?}");
    }
    assert!(backend.text().is_empty());
}

/// A backend under TLS that echoes; tells how each handshake went.
struct SecureEcho {
    address: std::net::SocketAddr,
    handshakes: tokio::sync::mpsc::UnboundedReceiver<(HandshakeKind, bool)>,
    _tasks: JoinSet<()>,
}

async fn secure_echo(authority: &Authority, files: &CertificateFiles, asks_who: bool) -> SecureEcho {
    use rustls::pki_types::pem::PemObject;
    let read = |path: &Path| std::fs::read(path).unwrap();
    let chain = rustls::pki_types::CertificateDer::from_pem_slice(&read(&files.cert)).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::from_pem_slice(&read(&files.key)).unwrap();
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = match asks_who {
        false => builder.with_no_client_auth(),
        true => builder.with_client_cert_verifier(
            WebPkiClientVerifier::builder_with_provider(authority.roots(), provider).build().unwrap(),
        ),
    };
    let acceptor = TlsAcceptor::from(Arc::new(builder.with_single_cert(vec![chain], key).unwrap()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, handshakes) = tokio::sync::mpsc::unbounded_channel();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            let (acceptor, tell) = (acceptor.clone(), tell.clone());
            connections.spawn(async move {
                let Ok(stream) = acceptor.accept(socket).await else { return };
                let session = stream.get_ref().1;
                let told = (session.handshake_kind().unwrap(), session.peer_certificates().is_some());
                tell.send(told).unwrap();
                echo(stream, |_| {}).await;
            });
        }
    });
    SecureEcho { address, handshakes, _tasks: tasks }
}

fn target(address: std::net::SocketAddr, settings: &Backend, host: &str) -> Target {
    let config = tls::client_config(settings, Protocol::Http1, "tls").unwrap();
    Target { tls: settings.secure(&config, host), ..Target::plain(address) }
}

#[tokio::test]
async fn a_backend_is_reached_under_tls_if_it_is_who_it_should_be() {
    let authority = Authority::new();
    let backend = secure_echo(&authority, &authority.sign("b", &["b.example"]), false).await;
    let reach = async |settings: &Backend, host: &str| {
        let running = start(Limits::default(), target(backend.address, settings, host));
        get(&mut running.connect().await, "/").await
    };
    assert!(reach(&authority.trusted(), "b.example").await.starts_with("HTTP/1.1 200"));
    assert!(reach(&authority.trusted(), "other.example").await.starts_with("HTTP/1.1 502"));
    assert!(reach(&Authority::new().trusted(), "b.example").await.starts_with("HTTP/1.1 502"));
    let named = Backend { server_name: Some("b.example".to_owned()), ..authority.trusted() };
    assert!(reach(&named, "127.0.0.1").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn sessions_with_backends_are_resumed_and_our_certificate_is_shown() {
    let authority = Authority::new();
    let mut backend = secure_echo(&authority, &authority.sign("b", &["b.example"]), true).await;
    let ours = authority.sign("ours", &["balancer"]);
    let settings = Backend { cert: Some(ours.cert), key: Some(ours.key), ..authority.trusted() };
    let target = target(backend.address, &settings, "b.example");
    for expected in [HandshakeKind::Full, HandshakeKind::Resumed] {
        let mut stream: Stream = soon(Connector::default().connect(&target, None)).await.unwrap();
        get(&mut stream, "/").await;
        assert_eq!(soon(backend.handshakes.recv()).await.unwrap(), (expected, true));
        assert_eq!(stream.handshake_kind(), Some(expected));
    }
}

#[tokio::test]
async fn a_backend_silent_in_its_handshake_is_given_up() {
    let authority = Authority::new();
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = target(silent.local_addr().unwrap(), &authority.trusted(), "b.example");
    let connector = Connector { connect_timeout: PATIENCE, handshake_timeout: Duration::from_millis(50) };
    let error = soon(connector.connect(&target, None)).await.unwrap_err();
    assert!(matches!(error, proxy::connect::ConnectError::HandshakeTimeout { .. }), "{error}");
}

#[test]
fn settings_that_cannot_work_name_the_key() {
    let authority = Authority::new();
    let refuse = |settings: Backend, key: &str| {
        let error = settings.validate("load_balancer.backend_tls").unwrap_err().to_string();
        assert!(error.starts_with(&format!("load_balancer.backend_tls.{key}:")), "{error}");
    };
    refuse(Backend { ca: Some("/none".into()), ..Backend::default() }, "ca");
    refuse(Backend { server_name: Some("a b".to_owned()), ..authority.trusted() }, "server_name");
    let (one, two) = (authority.sign("one", &["a"]), authority.sign("two", &["b"]));
    refuse(Backend { cert: Some(one.cert.clone()), ..authority.trusted() }, "key");
    refuse(Backend { cert: Some(one.cert), key: Some(two.key), ..authority.trusted() }, "key");
    authority.trusted().validate("x").unwrap();
    let _: Option<Secured> = authority
        .trusted()
        .secure(&tls::client_config(&authority.trusted(), Protocol::Http2, "x").unwrap(), "[::1]");
}
