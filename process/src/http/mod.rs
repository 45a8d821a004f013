//! Serving HTTP on the ordinary runtime: limits, the observed request, and a graceful end.
//!
//! The data plane (`load_balancer`, `api_gateway`) has its own loop, one a thread. What hyper refuses by itself is
//! told in [`bare`].

mod bare;
mod last_answer;

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tracing::Instrument;

use self::bare::{Answering, Turn, Watched};
use crate::{Shutdown, metrics, trace};

/// How long accepting pauses after an error such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The largest head of a request, with its target. Twice what the data plane takes, which adds who the caller is. One that
/// comes at once may be let in with up to twice as much: it is hyper's buffer that is bounded.
const HEAD_LIMIT: usize = 128 << 10;

/// What one listener grants its clients.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at a time; more wait in the backlog.
    pub connections: usize,
    /// How long the header section of a request may take to arrive.
    pub header_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connections: 4096, header_timeout: Duration::from_secs(10) }
    }
}

/// Serves a router until the shutdown is requested, then finishes the requests in flight within the grace.
///
/// Speaks HTTP/1.1 and, by prior knowledge, HTTP/2.
pub async fn serve(listener: TcpListener, router: Router, shutdown: &Shutdown, limits: Limits) {
    let places = Arc::new(Semaphore::new(limits.connections));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = shutdown.requested() => break,
            accepted = accept(&listener, &places) => accepted,
        };
        while connections.try_join_next().is_some() {}
        let Some((stream, place)) = accepted else { continue };
        let (router, shutdown) = (router.clone(), shutdown.clone());
        connections.spawn(async move {
            serve_connection(stream, router, &shutdown, limits).await;
            drop(place);
        });
    }
    drop(listener);
    shutdown.until_grace(async { while connections.join_next().await.is_some() {} }).await;
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> Option<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => Some((stream, place)),
        Err(error) => {
            tracing::warn!(%error, "a connection was not accepted");
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

async fn serve_connection(stream: TcpStream, router: Router, shutdown: &Shutdown, limits: Limits) {
    // Without it a small answer may wait for the peer's delayed acknowledgement.
    let _ = stream.set_nodelay(true);
    let mut builder = auto::Builder::new(TokioExecutor::new());
    let mut http1 = builder.http1();
    http1.timer(TokioTimer::new()).header_read_timeout(limits.header_timeout).max_buf_size(HEAD_LIMIT);
    builder.http2().timer(TokioTimer::new()).max_header_list_size(HEAD_LIMIT as u32);
    let turn = Arc::new(Turn::default());
    let watched = Watched::new(stream, Arc::clone(&turn));
    let service = TowerToHyperService::new(router);
    let service = service_fn(move |request| {
        turn.ask();
        let (answer, turn) = (service.call(request), Arc::clone(&turn));
        async move { answer.await.map(|response| response.map(|body| Answering::new(body, turn))) }
    });
    let connection = builder.serve_connection(TokioIo::new(watched), service);
    tokio::pin!(connection);
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = shutdown.requested() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// Axum middleware around every request of a role: `from_fn_with_state(role_name, process::http::observe)`.
///
/// Continues the trace, counts the request, writes one log line at debug, and sets `X-Request-Id`.
pub async fn observe(State(role): State<&'static str>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let trace = trace::continue_or_start(request.headers(), &mut rand::rng());
    let span = tracing::info_span!(
        "request",
        role,
        trace_id = %trace.trace_id(),
        method = %request.method(),
        path = request.uri().path(),
    );
    let mut response = trace::within(trace, next.run(request)).instrument(span.clone()).await;
    let elapsed = started.elapsed();
    metrics::REQUESTS.with_label_values(&[role, response.status().as_str()]).inc();
    metrics::REQUEST_SECONDS.with_label_values(&[role]).observe(elapsed.as_secs_f64());
    span.in_scope(|| {
        tracing::debug!(status = response.status().as_u16(), duration_us = elapsed.as_micros(), "answered");
    });
    response.headers_mut().insert(trace::REQUEST_ID, trace.request_id());
    response
}
