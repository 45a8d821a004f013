//! One probe: a connection, a question, the head of an answer.

use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, header};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::Instant;

/// Why a probe is bad.
#[derive(Debug, thiserror::Error)]
pub(super) enum BadProbe {
    #[error("cannot connect: {0}")]
    Connect(std::io::Error),
    #[error("no answer: {0}")]
    NoAnswer(String),
    #[error("it answered {0}")]
    Status(StatusCode),
    #[error("no answer within {0:?}")]
    Timeout(Duration),
}

/// Probes a backend once; gives how long the answer to the question took.
///
/// Each probe opens a connection of its own, because taking new ones is part of being up. A backend that
/// has nothing at the path is up: it is somebody's own server, and answers.
pub(super) async fn probe_once(
    address: SocketAddr,
    path: &str,
    timeout: Duration,
) -> Result<Duration, BadProbe> {
    tokio::time::timeout(timeout, ask(address, path)).await.unwrap_or(Err(BadProbe::Timeout(timeout)))
}

async fn ask(address: SocketAddr, path: &str) -> Result<Duration, BadProbe> {
    let opened = Instant::now();
    let stream = TcpStream::connect(address).await.map_err(BadProbe::Connect)?;
    if path.is_empty() {
        return Ok(opened.elapsed());
    }
    let no_answer = |reason: &dyn std::fmt::Display| BadProbe::NoAnswer(reason.to_string());
    let _ = stream.set_nodelay(true);
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| no_answer(&error))?;
    let request = Request::get(path)
        .header(header::HOST, address.to_string())
        .header(header::USER_AGENT, HeaderValue::from_static("sixfold-probe"))
        .header(header::CONNECTION, HeaderValue::from_static("close"))
        .body(Empty::<Bytes>::new())
        .map_err(|error| no_answer(&error))?;
    let asked = Instant::now();
    let mut answer = pin!(sender.send_request(request));
    let mut connection = pin!(connection);
    let answer = tokio::select! {
        biased;
        answer = answer.as_mut() => answer,
        // The connection may end with the answer; then the answer is there.
        _ = connection.as_mut() => answer.await,
    };
    let status = answer.map_err(|error| no_answer(&error))?.status();
    if status.as_u16() < 500 { Ok(asked.elapsed()) } else { Err(BadProbe::Status(status)) }
}
