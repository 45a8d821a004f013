//! The last answer of a connection of HTTP/1, told past hyper, and a close that does not take it away.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;

use crate::problem::Problem;
use crate::{TraceContext, trace};

/// How long a client that goes on sending is listened to: a socket that is closed with unread bytes resets the
/// connection, and the reset may overtake the answer (RFC 9112 §9.6). As long as the data plane does.
const PATIENCE: Duration = Duration::from_secs(2);

/// A problem on its way to a client, and then the wait for the client to close.
#[derive(Debug)]
pub(super) struct LastAnswer {
    answer: Vec<u8>,
    written: usize,
    /// Until when the client is listened to; from the moment that the writing side is shut.
    patience: Option<Pin<Box<Sleep>>>,
}

impl LastAnswer {
    /// Begins an answer.
    pub(super) fn new(problem: &Problem) -> Self {
        Self { answer: write(problem), written: 0, patience: None }
    }

    /// Writes it, or what is left of it.
    pub(super) fn poll_write(
        &mut self,
        stream: &mut TcpStream,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while let rest @ [_, ..] = &self.answer[self.written..] {
            match ready!(Pin::new(&mut *stream).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.written += count,
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Writes it, ends the connection's writing side, and waits until the client closes or its time is over.
    pub(super) fn poll_close(
        &mut self,
        stream: &mut TcpStream,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_write(stream, cx))?;
        let patience = match &mut self.patience {
            Some(patience) => patience,
            none => {
                ready!(Pin::new(&mut *stream).poll_shutdown(cx))?;
                none.insert(Box::pin(tokio::time::sleep(PATIENCE)))
            }
        };
        let mut dropped = [0; 512];
        while patience.as_mut().poll(cx).is_pending() {
            let mut unfilled = ReadBuf::new(&mut dropped);
            ready!(Pin::new(&mut *stream).poll_read(cx, &mut unfilled))?;
            if unfilled.filled().is_empty() {
                break;
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// Writes a problem as an answer of HTTP/1 after which the connection closes.
fn write(problem: &Problem) -> Vec<u8> {
    let trace = TraceContext::start(&mut rand::rng());
    let mut response = trace::within_now(trace, || problem.to_response());
    response.headers_mut().insert(trace::REQUEST_ID, trace.request_id());
    let status = response.status();
    let mut answer =
        format!("HTTP/1.1 {} {}\r\n", status.as_str(), status.canonical_reason().unwrap_or_default())
            .into_bytes();
    for (name, value) in response.headers() {
        answer.extend_from_slice(name.as_str().as_bytes());
        answer.extend_from_slice(b": ");
        answer.extend_from_slice(value.as_bytes());
        answer.extend_from_slice(b"\r\n");
    }
    let length = response.body().len();
    answer.extend_from_slice(format!("connection: close\r\ncontent-length: {length}\r\n\r\n").as_bytes());
    answer.extend_from_slice(response.body());
    answer
}
