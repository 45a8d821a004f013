//! What is logged, how loudly, and whether it can be told whose it is.

use std::fmt::{Debug, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use load_balancer::access_log::Mode;
use proxy::connect::Protocol;

use crate::support::{Backend, Client, PATIENCE, Running, config, start};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// Every line of this process; tests look for their own by the backend's address or the trace.
static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());

struct Keeper;

impl Subscriber for Keeper {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("load_balancer")
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(event.metadata().level().to_string());
        event.record(&mut line);
        LINES.lock().unwrap_or_else(PoisonError::into_inner).push(line.0);
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0, " {}={value:?}", field.name()).unwrap();
    }
}

/// Begins to keep lines, once.
fn keep_lines() {
    let _ = tracing::subscriber::set_global_default(Keeper);
}

/// Waits for the line that has all these words.
async fn line_with(words: &[&str]) -> String {
    let looking = async {
        loop {
            let found = {
                let lines = LINES.lock().unwrap_or_else(PoisonError::into_inner);
                lines.iter().find(|line| words.iter().all(|word| line.contains(word))).cloned()
            };
            match found {
                Some(line) => return line,
                None => tokio::time::sleep(Duration::from_millis(2)).await,
            }
        }
    };
    tokio::time::timeout(PATIENCE, looking).await.unwrap_or_else(|_| panic!("no line has {words:?}"))
}

/// Has two clients under way at the one backend: one whose answer never begins, and one whose answer never ends.
async fn ask_and_wait(balancer: &Running) -> (Client, Client) {
    let mut silent = balancer.connect().await;
    silent.send("GET /silent HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut begun = balancer.connect().await;
    begun.send("GET /begun HTTP/1.1\r\nHost: a\r\n\r\n").await;
    begun.read_past("beg").await.unwrap();
    balancer.wait_until(|backends| backends[0].in_flight == 2).await;
    (silent, begun)
}

#[tokio::test]
async fn that_a_backend_is_found_up_is_said_softly_and_that_it_goes_aloud() {
    keep_lines();
    let backend = Backend::answering(OK).await;
    let address = backend.address.to_string();
    let _balancer = start(&config(&[backend.address]));
    let found = line_with(&["changed its state", &address, "to=up"]).await;
    assert!(found.starts_with("DEBUG") && found.contains("cluster=\"gateways\""), "{found}");
    drop(backend);
    let failed = line_with(&["a probe failed", &address]).await;
    assert!(failed.starts_with("WARN") && failed.contains("cluster=\"gateways\""), "{failed}");
    let gone = line_with(&["changed its state", &address, "to=down"]).await;
    assert!(gone.starts_with("INFO") && gone.contains("cluster=\"gateways\""), "{gone}");
}

#[tokio::test]
async fn a_client_s_silence_is_no_warning_and_a_backend_s_failure_is_one() {
    keep_lines();
    let backend = Backend::start(|head, mut client| async move {
        if head.starts_with("GET /health") {
            client.send(OK).await;
        } else if head.starts_with("POST") {
            client.read_past("never").await;
        }
        None
    })
    .await;
    let mut config = config(&[backend.address]);
    config.body_idle_timeout = std::time::Duration::from_millis(50);
    let balancer = start(&config);
    let refused = balancer.exchange("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbo").await;
    assert_eq!(refused.status(), 408);
    let line = line_with(&[&refused.head.get("x-request-id").unwrap(), "did not send the rest"]).await;
    assert!(line.starts_with("DEBUG") && line.contains("cluster=\"gateways\""), "{line}");
    let failed = balancer.exchange("PATCH / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(failed.status(), 502);
    let line = line_with(&[&failed.head.get("x-request-id").unwrap(), "got no response"]).await;
    assert!(line.starts_with("WARN") && line.contains("cluster=\"gateways\""), "{line}");
}

/// Waits for the line of the access log about a path.
async fn logged(file: &Path, path: &str) -> serde_json::Value {
    logged_where(file, "path", path).await
}

/// Waits for the line of the access log whose member has this value.
async fn logged_where(file: &Path, member: &str, value: &str) -> serde_json::Value {
    let looking = async {
        loop {
            let text = std::fs::read_to_string(file).unwrap_or_default();
            let mut lines = text.lines().filter_map(|line| serde_json::from_str(line).ok());
            match lines.find(|line: &serde_json::Value| line[member] == value) {
                Some(line) => return line,
                None => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    };
    tokio::time::timeout(PATIENCE, looking).await.unwrap_or_else(|_| panic!("no line with {member} {value}"))
}

#[tokio::test]
async fn a_request_that_cannot_be_read_has_a_line_that_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("access.log");
    let backend = Backend::answering(OK).await;
    let mut config = config(&[backend.address]);
    (config.access_log.mode, config.access_log.path) = (Mode::All, file.clone());
    let balancer = start(&config);
    let refused = balancer.exchange("GET /a HTTP/1.1\r\n\r\n").await;
    assert_eq!(refused.status(), 400);
    let line = logged_where(&file, "trace_id", &refused.head.get("x-request-id").unwrap()).await;
    assert_eq!((&line["status"], &line["client"]), (&400.into(), &"127.0.0.1".into()), "{line}");
    assert!(line["error"].as_str().unwrap().contains("Host"), "{line}");
    assert!(line.get("method").is_none() && line.get("backend").is_none(), "{line}");
}

#[tokio::test]
async fn the_client_in_the_access_log_is_who_asked_a_trusted_proxy() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("access.log");
    let backend = Backend::answering(OK).await;
    let mut config = config(&[backend.address]);
    (config.access_log.mode, config.access_log.path) = (Mode::All, file.clone());
    config.trusted_proxies = vec!["127.0.0.1".to_owned(), "10.0.0.0/8".to_owned()];
    let balancer = start(&config);
    let told = "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: 192.0.2.7, 10.0.0.1";
    let request = format!("GET /told HTTP/1.1\r\nHost: a\r\n{told}\r\n\r\n");
    assert_eq!(balancer.exchange(&request).await.status(), 200);
    assert_eq!(logged(&file, "/told").await["client"], "192.0.2.7");
}

#[tokio::test]
async fn a_client_that_leaves_has_a_line_that_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("access.log");
    let backend = Backend::start(|head, mut client| async move {
        if head.starts_with("GET /begun ") {
            client.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nbeg").await;
        }
        if head.starts_with("GET /silent ") || head.starts_with("GET /begun ") {
            client.read_past("never").await;
            return None;
        }
        client.send(OK).await;
        Some(client)
    })
    .await;
    let mut config = config(&[backend.address]);
    (config.access_log.mode, config.access_log.path) = (Mode::All, file.clone());
    let balancer = start(&config);
    assert_eq!(balancer.exchange("GET /whole HTTP/1.1\r\nHost: a\r\n\r\n").await.status(), 200);
    let under_way = ask_and_wait(&balancer).await;
    drop(under_way);

    let line = logged(&file, "/whole").await;
    assert_eq!((&line["status"], line.get("client_gone")), (&200.into(), None), "{line}");
    let line = logged(&file, "/silent").await;
    assert_eq!((&line["status"], &line["client_gone"]), (&499.into(), &true.into()), "{line}");
    assert_eq!((&line["bytes"], line.get("backend")), (&0.into(), None), "{line}");
    let line = logged(&file, "/begun").await;
    assert_eq!((&line["status"], &line["client_gone"]), (&200.into(), &true.into()), "what was sent stands");
    assert_eq!(line["backend"], backend.address.to_string(), "{line}");
    assert!(line["bytes"].as_u64().unwrap() > 3, "{line}");
}

/// Starts a backend of HTTP/2: `/silent` answers nothing, `/begun` never ends, `/breaks` ends too soon.
async fn http2_backend() -> (SocketAddr, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut served = JoinSet::new();
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            served.spawn(async move {
                let mut connection = h2::server::handshake(socket).await.unwrap();
                let (mut unanswered, mut begun) = (Vec::new(), Vec::new());
                while let Some(Ok((request, mut respond))) = connection.accept().await {
                    let path = request.uri().path();
                    if path == "/silent" {
                        unanswered.push(respond);
                        continue;
                    }
                    let mut response = http::Response::new(());
                    if path == "/breaks" {
                        response.headers_mut().insert("content-length", 9.into());
                    }
                    let mut body = respond.send_response(response, false).unwrap();
                    let data: &[u8] = if request.method() == "HEAD" { b"" } else { b"beg" };
                    body.send_data(bytes::Bytes::from_static(data), path != "/begun").unwrap();
                    begun.push(body);
                }
            });
        }
    });
    (address, tasks)
}

#[tokio::test]
async fn with_backends_of_http_2_a_line_is_written_at_the_end_and_says_how_it_ended() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("access.log");
    let (address, _tasks) = http2_backend().await;
    let mut config = config(&[address]);
    config.protocol = Protocol::Http2;
    (config.access_log.mode, config.access_log.path) = (Mode::All, file.clone());
    let balancer = start(&config);
    assert_eq!(balancer.exchange("GET /whole HTTP/1.1\r\nHost: a\r\n\r\n").await.status(), 200);
    assert_eq!(balancer.exchange("HEAD /head HTTP/1.1\r\nHost: a\r\n\r\n").await.status(), 200);
    let mut breaks = balancer.connect().await;
    breaks.send("GET /breaks HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    assert!(breaks.is_closed_whatever_was_sent().await);
    let under_way = ask_and_wait(&balancer).await;
    let text = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(!text.contains("/begun"), "its exchange has not ended: {text}");
    drop(under_way);

    let line = logged(&file, "/whole").await;
    assert_eq!((&line["status"], line.get("client_gone")), (&200.into(), None), "{line}");
    assert!(line["bytes"].as_u64().unwrap() > 3 && line.get("error").is_none(), "{line}");
    let line = logged(&file, "/head").await;
    assert_eq!((&line["status"], line.get("client_gone")), (&200.into(), None), "{line}");
    let line = logged(&file, "/breaks").await;
    // 502 where the fault was there before the head had gone on, as it is here unless the two come apart.
    assert!(line["status"] == 502 || line["status"] == 200, "{line}");
    assert_eq!(line.get("client_gone"), None, "{line}");
    assert_eq!(line["error"], "the backend broke off its response", "{line}");
    let line = logged(&file, "/silent").await;
    assert_eq!((&line["status"], &line["client_gone"]), (&499.into(), &true.into()), "{line}");
    let line = logged(&file, "/begun").await;
    assert_eq!((&line["status"], &line["client_gone"]), (&200.into(), &true.into()), "what was sent stands");
    assert_eq!(line["backend"], address.to_string(), "{line}");
}
