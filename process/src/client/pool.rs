//! Connections to other roles, each driven by the call that uses it.
//!
//! A connection has no task of its own: the call polls it beside its own request. hyper hands a request over through a
//! channel, and one that is sent while a task on another thread drops the closed connection can stay in that channel
//! unanswered for as long as its sender waits (hyperium/hyper #4122). Within one task nothing is sent meanwhile; two
//! wake-ups a call are saved besides.

use std::collections::HashMap;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::uri::{Authority, Scheme};
use http::{HeaderValue, Request, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::Answer;

/// The largest answer that is read, in bytes.
const ANSWER_LIMIT: usize = 64 << 20;

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// How long an idle connection is kept; shorter than any server of ours keeps it.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// Idle connections kept to one server.
const MAX_IDLE: usize = 512;

/// Connections to any number of servers; clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct Pool(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    idle: HashMap<Authority, Vec<Idle>>,
    /// The task that closes what is unused.
    sweep: JoinSet<()>,
}

#[derive(Debug)]
struct Idle {
    connection: Connection,
    since: Instant,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Failure {
    /// Nothing of the request was sent.
    Unsent(String),
    /// The server may have acted on it.
    Broken(String),
}

impl Pool {
    /// Sends a request to the server its URL names and reads the whole answer. A kept connection that turns out to be
    /// closed before anything was sent is passed over for the next, at last for a new one.
    ///
    /// Dropping the future closes the connection it uses.
    pub(super) async fn exchange(
        &self,
        mut request: Request<Full<Bytes>>,
        enough: Option<usize>,
    ) -> Result<Answer, Failure> {
        let authority = address(&mut request).map_err(|reason| Failure::Unsent(reason.to_owned()))?;
        loop {
            let kept = self.check_out(&authority);
            let is_new = kept.is_none();
            let mut connection = match kept {
                Some(connection) => connection,
                None => open(&authority).await.map_err(|error| Failure::Unsent(error.to_string()))?,
            };
            match connection.exchange(request, enough).await {
                Ok(answer) => {
                    self.check_in(authority, connection);
                    return Ok(answer);
                }
                Err((Some(_), reason)) if is_new => return Err(Failure::Unsent(reason)),
                Err((Some(unsent), _)) => request = *unsent,
                Err((None, reason)) => return Err(Failure::Broken(reason)),
            }
        }
    }

    fn check_out(&self, authority: &Authority) -> Option<Connection> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.idle.get_mut(authority)?.pop().map(|idle| idle.connection)
    }

    fn check_in(&self, authority: Authority, connection: Connection) {
        if !connection.sender.is_ready() {
            return;
        }
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = kept.idle.entry(authority).or_default();
        if idle.len() < MAX_IDLE {
            idle.push(Idle { connection, since: Instant::now() });
        }
        // It ends by itself only with the runtime it is of.
        while kept.sweep.try_join_next().is_some() {}
        if kept.sweep.is_empty() {
            kept.sweep.spawn(close_idle(Arc::downgrade(&self.0)));
        }
    }
}

/// Closes connections that were unused too long.
async fn close_idle(kept: Weak<Mutex<Kept>>) {
    loop {
        tokio::time::sleep(IDLE_TIMEOUT / 2).await;
        let Some(kept) = kept.upgrade() else { return };
        kept.lock().unwrap_or_else(PoisonError::into_inner).idle.retain(|_, idle| {
            idle.retain(|idle| idle.since.elapsed() < IDLE_TIMEOUT / 2);
            !idle.is_empty()
        });
    }
}

/// An open connection and what reads and writes it, until it has ended.
#[derive(Debug)]
struct Connection {
    sender: SendRequest<Full<Bytes>>,
    driver: Option<Driver>,
}

type Driver = Pin<Box<http1::Connection<TokioIo<TcpStream>, Full<Bytes>>>>;

/// The request, if nothing of it was sent, and why there is no answer.
type Interrupted = (Option<Box<Request<Full<Bytes>>>>, String);

impl Connection {
    async fn exchange(
        &mut self,
        request: Request<Full<Bytes>>,
        enough: Option<usize>,
    ) -> Result<Answer, Interrupted> {
        let sending = self.sender.try_send_request(request);
        let mut reading = pin!(async {
            let response = sending
                .await
                .map_err(|mut error| (error.take_message().map(Box::new), root_cause(&error.into_error())))?;
            let (head, body) = response.into_parts();
            let body = match enough {
                None => read_all(body).await,
                Some(enough) => read_beginning(body, enough).await,
            };
            let body = body.map_err(|reason| (None, reason))?;
            Ok(Answer { status: head.status, fields: head.headers, body })
        });
        poll_fn(|context| {
            drive(&mut self.driver, context);
            let answer = reading.as_mut().poll(context);
            if answer.is_ready() {
                // Only when it finds nothing to do is it ready for another request.
                drive(&mut self.driver, context);
            }
            answer
        })
        .await
    }
}

async fn read_all(body: Incoming) -> Result<Bytes, String> {
    let body = Limited::new(body, ANSWER_LIMIT).collect().await;
    Ok(body.map_err(|error| root_cause(&*error))?.to_bytes())
}

/// Reads a body until it has so many bytes; the connection of what is longer is of no use any more.
async fn read_beginning(mut body: Incoming, enough: usize) -> Result<Bytes, String> {
    let mut read = BytesMut::new();
    while read.len() < enough
        && let Some(frame) = body.frame().await
    {
        if let Ok(data) = frame.map_err(|error| root_cause(&error))?.into_data() {
            read.extend_from_slice(&data[..data.len().min(enough - read.len())]);
        }
    }
    Ok(read.freeze())
}

/// Reads and writes what can be at present. A connection that ended is dropped at once, so that a request it still
/// held is given back.
fn drive(driver: &mut Option<Driver>, context: &mut Context<'_>) {
    if let Some(connection) = driver
        && let Poll::Ready(ended) = connection.as_mut().poll(context)
    {
        *driver = None;
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection to a role ended early");
        }
    }
}

/// Gives the server that a request's URL names, which it is left without (RFC 9112 §3.2.1), and sets `Host`.
fn address(request: &mut Request<Full<Bytes>>) -> Result<Authority, &'static str> {
    let url = request.uri();
    if url.scheme() != Some(&Scheme::HTTP) {
        return Err("its scheme is not http");
    }
    let authority = url.authority().cloned().ok_or("it names no host")?;
    let target = url.path_and_query().cloned().map_or_else(Uri::default, Uri::from);
    if !request.headers().contains_key(header::HOST) {
        let host = match authority.port_u16() {
            Some(port) if port != 80 => format!("{}:{port}", authority.host()),
            _ => authority.host().to_owned(),
        };
        let host = HeaderValue::try_from(host).map_err(|_| "its host is not one")?;
        request.headers_mut().insert(header::HOST, host);
    }
    *request.uri_mut() = target;
    Ok(authority)
}

/// Connects to any of the addresses a server has.
async fn open(authority: &Authority) -> io::Result<Connection> {
    let host = authority.host().trim_matches(['[', ']']);
    let connecting = TcpStream::connect((host, authority.port_u16().unwrap_or(80)));
    let stream = tokio::time::timeout(CONNECT_TIMEOUT, connecting).await??;
    stream.set_nodelay(true)?;
    let (sender, driver) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    Ok(Connection { sender, driver: Some(Box::pin(driver)) })
}

/// The innermost cause of an error, which is the one a person can act on.
fn root_cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
