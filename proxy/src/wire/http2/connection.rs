//! A client's HTTP/2 connection: its streams, each a request with a task of its own.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::RecvStream;
use h2::server::{Builder, SendResponse};
use process::TraceContext;
use process::problem::Problem;

use super::request;
use super::stream::ClientStream;
use crate::Client;
use crate::server::{self, Connection, Counted, Limits, Order, Socket, Watched};
use crate::wire::downstream::{new_trace, trace_of};
use crate::wire::exchange::Exchange;
use crate::wire::head::added::AddedFields;
use crate::wire::ping::Pings;
use crate::wire::side::Side;
use crate::wire::{Handler, Refused};

/// What a client may send before a backend has taken it, on a stream and on a connection; hyper's defaults.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 1 << 20;

/// What one stream may keep of its response for a client that grants room and then does not read. hyper's default is
/// 400 KiB, of which 128 streams make 50 MiB a connection; a body is moved in pieces of half of it.
const SEND_BUFFER: usize = 64 << 10;

/// How HTTP/2 connections are served; made once a thread.
#[derive(Debug)]
pub(crate) struct Settings {
    builder: Builder,
    ping_interval: Duration,
}

impl Settings {
    pub(crate) fn new(limits: &Limits) -> Self {
        let mut builder = Builder::new();
        builder
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buffer_size(SEND_BUFFER)
            .max_header_list_size(u32::try_from(limits.max_header_size).unwrap_or(u32::MAX))
            .max_concurrent_streams(limits.max_streams)
            .max_pending_accept_reset_streams(server::PENDING_RESETS)
            .max_local_error_reset_streams(Some(server::ERROR_RESETS));
        Self { builder, ping_interval: limits.ping_interval }
    }
}

/// What the streams of a connection have in common.
struct Shared<H> {
    client: Rc<Client>,
    watched: Watched,
    handler: Rc<H>,
}

/// Serves a connection to its end.
pub(in crate::wire) async fn serve<H: Handler>(connection: Connection, handler: Rc<H>) {
    let Connection { stream, client, watched, served, .. } = connection;
    let socket = Socket::http2(stream, Arc::clone(watched.standing()));
    let peer = client.address();
    let shared = Rc::new(Shared { client, watched, handler });
    if let Err(error) = drive(socket, &served.wire_http2, &shared).await {
        tracing::debug!(%error, %peer, "a connection ended early");
    }
}

/// Shakes hands, then accepts streams until the client, or the registry, ends the connection.
async fn drive<H: Handler>(
    socket: Socket,
    settings: &Settings,
    shared: &Rc<Shared<H>>,
) -> Result<(), h2::Error> {
    let watched = &shared.watched;
    let mut handshake = pin!(settings.builder.handshake::<_, Bytes>(socket));
    let shaken = poll_fn(|cx| {
        let order = watched.order(cx.waker());
        if order == Order::Close {
            return Poll::Ready(None);
        }
        match handshake.as_mut().poll(cx) {
            Poll::Ready(shaken) => Poll::Ready(Some(shaken)),
            // Whoever has not asked yet is not waited for.
            Poll::Pending if order == Order::Drain => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    });
    let Some(shaken) = shaken.await else { return Ok(()) };
    let mut connection = shaken?;
    let (interval, timeout) = (settings.ping_interval, server::PING_TIMEOUT);
    let mut pings = connection.ping_pong().map(|pings| Pings::new(pings, interval, timeout));
    let mut is_draining = false;
    poll_fn(|cx| {
        let order = watched.order(cx.waker());
        if order == Order::Close {
            return Poll::Ready(Ok(()));
        }
        if let Some(pings) = &mut pings
            && pings.poll_silence(cx, true, || watched.standing().take_heard())
        {
            return Poll::Ready(Ok(()));
        }
        loop {
            match connection.poll_accept(cx) {
                Poll::Ready(Some(Ok((request, respond)))) => start(shared, request, respond),
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error)),
                Poll::Ready(None) => return Poll::Ready(Ok(())),
                // Only now, after what has been sent already was read.
                Poll::Pending if order == Order::Drain && !is_draining => {
                    is_draining = true;
                    connection.graceful_shutdown();
                }
                Poll::Pending if is_draining && !watched.standing().has_asked() => {
                    return Poll::Ready(Ok(()));
                }
                Poll::Pending => return Poll::Pending,
            }
        }
    })
    .await
}

/// Gives a stream its task. When all that has come is read, the tasks run, and then the connection again: so
/// their answers leave in one write.
fn start<H: Handler>(
    shared: &Rc<Shared<H>>,
    request: http::Request<RecvStream>,
    respond: SendResponse<Bytes>,
) {
    let counted = Counted::begin(shared.watched.standing());
    let shared = Rc::clone(shared);
    server::spawn(async move {
        // Boxed: what is spawned is moved several times, and this is large.
        if Box::pin(answer(&shared, request, respond)).await {
            counted.note_whole();
        }
    });
}

/// Answers one request; true if the client has had all of it.
async fn answer<H: Handler>(
    shared: &Shared<H>,
    request: http::Request<RecvStream>,
    respond: SendResponse<Bytes>,
) -> bool {
    let Shared { client, watched, handler } = shared;
    let rules = handler.rules();
    let (head, body) = request.into_parts();
    let read = request::read(&head, !body.is_end_stream(), &rules.limits);
    drop(head);
    let is_chunked = read.as_ref().is_ok_and(|request| request.is_chunked());
    let stream = RefCell::new(ClientStream::new(respond, body, is_chunked));
    let request = match read {
        Ok(request) => request,
        Err(refusal) => {
            let (problem, trace) = (refusal.problem(), new_trace());
            handler.note_refusal(&Refused {
                client,
                protocol: "HTTP/2",
                problem: &problem,
                reason: &refusal.to_string(),
                trace,
            });
            return refuse(&stream, &problem, &trace).await;
        }
    };
    let trace = trace_of(&request);
    let mut exchange = Exchange::new(request, client, &rules, trace, Side::Stream(&stream), watched);
    let is_answered = while_there(handler.serve(&mut exchange), &stream).await;
    is_answered && exchange.is_whole()
}

/// Runs a handler for as long as the client wants the stream.
async fn while_there(serving: impl Future<Output = ()>, stream: &RefCell<ClientStream>) -> bool {
    let mut serving = pin!(serving);
    poll_fn(|cx: &mut Context<'_>| {
        if serving.as_mut().poll(cx).is_ready() {
            return Poll::Ready(true);
        }
        stream.borrow_mut().poll_reset(cx).map(|()| false)
    })
    .await
}

async fn refuse(stream: &RefCell<ClientStream>, problem: &Problem, trace: &TraceContext) -> bool {
    let response = process::trace::within(*trace, async { problem.to_response() }).await;
    stream.borrow_mut().send_problem(response, trace, &AddedFields::default(), false)
}
