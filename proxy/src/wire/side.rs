//! The client's side of an exchange: a connection of HTTP/1, or one stream of HTTP/2.

use std::cell::RefCell;
use std::io;
use std::task::{Context, Poll};

use tokio::time::Instant;

use super::body::inflow::Origin;
use super::body::relay::{Broken, End};
use super::body::upload::Upload;
use super::carrier::Carrier;
use super::downstream::Downstream;
use super::head::request_head::{BodyKind, Request};
use super::head::response_head::ResponseHead;
use super::head::rewrite;
use super::http2::ClientStream;

/// Where a request came from and its response goes.
#[derive(Debug, Clone, Copy)]
pub(super) enum Side<'c> {
    Connection(&'c RefCell<Downstream>),
    Stream(&'c RefCell<ClientStream>),
}

impl Side<'_> {
    /// Gives how many bytes were sent for the present request; over HTTP/2 without heads and frames.
    pub(super) fn sent(self) -> u64 {
        match self {
            Self::Connection(client) => client.borrow().sent,
            Self::Stream(stream) => stream.borrow().sent,
        }
    }

    /// Moves what can be moved of an upload to the backend.
    pub(super) fn poll_upload(
        self,
        cx: &mut Context<'_>,
        upload: &mut Upload,
        request: &Request,
        carrier: &mut Carrier,
    ) -> Poll<Result<(), Broken>> {
        match self {
            Self::Connection(client) => {
                let client = &mut *client.borrow_mut();
                let from = End { stream: &mut client.stream, buffer: &mut client.input };
                let polled = match carrier {
                    Carrier::Link(link) => upload.poll_link(cx, request, from, link),
                    Carrier::Call(call) => upload.poll_call(cx, request, Origin::Bytes(from), call),
                };
                // The next bytes of the client are no more of this body.
                client.is_watched |= upload.is_done();
                polled
            }
            Self::Stream(stream) => {
                let stream = &mut *stream.borrow_mut();
                match carrier {
                    Carrier::Link(link) => {
                        let from = End { stream: &mut stream.body, buffer: &mut stream.input };
                        upload.poll_link(cx, request, from, link)
                    }
                    Carrier::Call(call) => {
                        let frames = stream.body.frames();
                        if request.body() == BodyKind::Streamed {
                            frames.keep();
                        }
                        upload.poll_call(cx, request, Origin::Frames(frames), call)
                    }
                }
            }
        }
    }

    /// Tells whether what was read of a streamed body can be read once more: over HTTP/2, of a small one.
    pub(super) fn can_rewind(self) -> bool {
        match self {
            Self::Connection(_) => false,
            Self::Stream(stream) => stream.borrow().body.can_rewind(),
        }
    }

    /// Goes back to the beginning of a streamed body; false if that is not there any more.
    pub(super) fn rewind(self) -> bool {
        match self {
            Self::Connection(_) => false,
            Self::Stream(stream) => stream.borrow_mut().body.rewind(),
        }
    }

    /// Keeps nothing of a body for a repeat any more.
    pub(super) fn forget(self) {
        if let Self::Stream(stream) = self {
            stream.borrow_mut().body.forget();
        }
    }

    /// Writes an interim response, of which [`Side::poll_taken`] tells when it is sent.
    pub(super) fn put_interim(self, head: &[u8], interim: &ResponseHead) -> io::Result<()> {
        match self {
            Self::Connection(client) => {
                rewrite::put_interim(&mut client.borrow_mut().output, head, interim);
                Ok(())
            }
            Self::Stream(stream) => stream.borrow_mut().send_interim(head, interim),
        }
    }

    /// Waits until the client has taken the interim responses; h2 keeps those of its streams.
    pub(super) fn poll_taken(self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Connection(client) => {
                let client = &mut *client.borrow_mut();
                client.output.poll_drain(&mut client.stream, cx, &mut client.sent)
            }
            Self::Stream(_) => Poll::Ready(Ok(())),
        }
    }

    /// Tells whether the client has still to take what was written for it.
    pub(super) fn is_behind(self) -> bool {
        match self {
            Self::Connection(client) => !client.borrow().output.is_empty(),
            Self::Stream(_) => false,
        }
    }

    /// Tells whether a deadline has passed; if not, wakes the task by then.
    pub(super) fn poll_due(self, cx: &mut Context<'_>, deadline: Instant) -> bool {
        match self {
            Self::Connection(client) => client.borrow_mut().timer.poll_due(cx, deadline),
            Self::Stream(stream) => stream.borrow_mut().timer.poll_due(cx, deadline),
        }
    }
}
