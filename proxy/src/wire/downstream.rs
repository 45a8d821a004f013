//! A client's connection: its requests in turn.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use process::{Problem, TraceContext, trace};
use rand::SeedableRng;
use rand::rngs::SmallRng;

use super::body::relay::poll_flush;
use super::buffer::Buffer;
use super::exchange::{self, Exchange, ProblemForm, Then};
use super::head::added::AddedFields;
use super::head::refusal::Refusal;
use super::head::request_head::{self, Request};
use super::side::Side;
use super::timer::Timer;
use super::{Handler, Limits, Refused, http2, linger};
use crate::server::{Connection, Order, Watched};
use crate::stream::Stream;

thread_local! {
    /// Where trace IDs come from.
    static RNG: RefCell<SmallRng> = RefCell::new(SmallRng::from_os_rng());
}

/// A client's connection.
#[derive(Debug)]
pub(super) struct Downstream {
    pub(super) stream: Stream,
    /// Received, and of no request yet.
    pub(super) input: Buffer,
    /// To be sent.
    pub(super) output: Buffer,
    pub(super) timer: Timer,
    /// Nobody reads from it but the connection's own loop, which looks whether the client goes away.
    pub(super) is_watched: bool,
    /// Bytes sent for the present request.
    pub(super) sent: u64,
}

impl Downstream {
    /// Writes what is to be sent.
    pub(super) fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        std::task::ready!(self.output.poll_drain(&mut self.stream, cx, &mut self.sent))?;
        poll_flush(&mut self.stream, cx)
    }

    /// Reads ahead, as far as there is room; false if the client has gone.
    fn poll_watch(&mut self, cx: &mut Context<'_>) -> bool {
        while self.is_watched && self.input.make_room(0) {
            match self.input.poll_fill(&mut self.stream, cx) {
                Poll::Ready(Ok(0) | Err(_)) => return false,
                Poll::Ready(Ok(_)) => {}
                Poll::Pending => return true,
            }
        }
        true
    }
}

/// What comes when a request is waited for.
enum Came {
    Request(Request),
    Refused(Refusal),
    /// The client, or the registry, has ended the connection.
    End,
}

/// Serves a connection to its end, whichever HTTP it speaks.
pub async fn serve<H: Handler>(connection: Connection, handler: Rc<H>) {
    if connection.is_http2 {
        // Boxed, as what follows is: neither is to be as large as both.
        return Box::pin(http2::serve(connection, handler)).await;
    }
    let Connection { stream, client, watched, .. } = connection;
    let (input, output, timer) = (Buffer::default(), Buffer::default(), Timer::default());
    let downstream = RefCell::new(Downstream { stream, input, output, timer, is_watched: true, sent: 0 });
    loop {
        let request = match next_request(&downstream, &watched, &*handler).await {
            Came::Request(request) => request,
            Came::Refused(refusal) => {
                watched.standing().note_request();
                let (problem, trace) = (refusal.problem(), new_trace());
                handler.note_refusal(&Refused {
                    client: &client,
                    protocol: "HTTP/1.1",
                    problem: &problem,
                    reason: &refusal.to_string(),
                    trace,
                });
                // Boxed: it is rare, and would make every connection larger.
                Box::pin(refuse(&downstream, &watched, &problem, trace)).await;
                watched.standing().note_response();
                return;
            }
            Came::End => return,
        };
        watched.standing().note_request();
        let trace = trace_of(&request);
        let rules = handler.rules();
        let mut exchange =
            Exchange::new(request, &client, &rules, trace, Side::Connection(&downstream), &watched);
        let is_answered = while_there(handler.serve(&mut exchange), &downstream, &watched).await;
        let (mut rest, then) = exchange.into_rest();
        watched.standing().note_response();
        match then {
            Then::Keep if is_answered => {}
            Then::Linger if is_answered => return linger::close(&downstream, &watched).await,
            _ => return,
        }
        if !rest.is_empty() {
            let mut downstream = downstream.borrow_mut();
            // Pipelined requests: those read later come after those read with this one.
            rest.put(downstream.input.filled());
            downstream.input = rest;
        }
    }
}

/// Continues the trace of a request as a new span, or starts one.
pub(super) fn trace_of(request: &Request) -> TraceContext {
    RNG.with_borrow_mut(|rng| match request.traceparent().and_then(TraceContext::parse) {
        Some(parent) => parent.child(rng),
        None => TraceContext::start(rng),
    })
}

/// Starts a trace.
pub(super) fn new_trace() -> TraceContext {
    RNG.with_borrow_mut(TraceContext::start)
}

/// Waits for the next request.
async fn next_request<H: Handler>(downstream: &RefCell<Downstream>, watched: &Watched, handler: &H) -> Came {
    let mut is_fresh = !downstream.borrow().input.is_empty();
    poll_fn(|cx| {
        let order = watched.order(cx.waker());
        if order == Order::Close {
            return Poll::Ready(Came::End);
        }
        let limits = handler.rules().limits;
        let limits = &limits;
        let mut client = downstream.borrow_mut();
        let client = &mut *client;
        loop {
            if std::mem::take(&mut is_fresh) {
                watched.standing().note_bytes();
                match request_head::parse(&mut client.input, limits) {
                    Ok(Some(request)) => return Poll::Ready(Came::Request(request)),
                    Ok(None) => {}
                    Err(refusal) => return Poll::Ready(Came::Refused(refusal)),
                }
            }
            let before = client.input.len();
            if before > 0 {
                client.input.make_room(limits.head_size);
            }
            match client.input.poll_fill(&mut client.stream, cx) {
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Came::End),
                Poll::Ready(Ok(_)) => {
                    watched.standing().note_bytes();
                    is_fresh = is_worth_parsing(&client.input, before, limits);
                }
                // What has been sent already is answered also while draining; who has not asked is not
                // waited for.
                Poll::Pending if order == Order::Drain => return Poll::Ready(Came::End),
                Poll::Pending if order == Order::Refuse => return Poll::Ready(give_up(&client.input)),
                Poll::Pending => return Poll::Pending,
            }
        }
    })
    .await
}

/// Gives up waiting for the rest of a head; who has sent nothing of one, but perhaps an empty line
/// (RFC 9112 §2.2), is told nothing.
fn give_up(input: &Buffer) -> Came {
    let is_begun = input.filled().iter().any(|byte| !matches!(byte, b'\r' | b'\n'));
    if is_begun { Came::Refused(Refusal::Slow) } else { Came::End }
}

/// Tells whether bytes that came after `before` others may have completed a line or gone over a limit; a head
/// that comes byte by byte would otherwise be read again with each of them.
pub(super) fn is_worth_parsing(input: &Buffer, before: usize, limits: &Limits) -> bool {
    let crosses = |limit: usize| before <= limit && input.len() > limit;
    before == 0
        || input.filled()[before..].contains(&b'\n')
        || crosses(limits.target_size)
        || input.len() >= limits.head_size
}

/// Runs a handler for as long as the client is there; false if it went away or was told to.
async fn while_there(
    serving: impl Future<Output = ()>,
    downstream: &RefCell<Downstream>,
    watched: &Watched,
) -> bool {
    let mut serving = pin!(serving);
    poll_fn(|cx| {
        if watched.order(cx.waker()) == Order::Close {
            return Poll::Ready(false);
        }
        if serving.as_mut().poll(cx).is_ready() {
            return Poll::Ready(true);
        }
        if downstream.borrow_mut().poll_watch(cx) { Poll::Pending } else { Poll::Ready(false) }
    })
    .await
}

/// Answers what is no request, and closes.
async fn refuse(downstream: &RefCell<Downstream>, watched: &Watched, problem: &Problem, trace: TraceContext) {
    let response = trace::within(trace, async { problem.to_response() }).await;
    exchange::put_problem(
        &mut downstream.borrow_mut().output,
        &response,
        &trace,
        &AddedFields::default(),
        ProblemForm::default(),
    );
    let written = poll_fn(|cx| {
        if watched.order(cx.waker()) == Order::Close {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        downstream.borrow_mut().poll_drain(cx)
    });
    if written.await.is_ok() {
        linger::close(downstream, watched).await;
    }
}
