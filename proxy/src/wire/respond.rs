//! A backend's response on its way to the client, beside what is left of the upload.

use std::cell::RefCell;
use std::future::poll_fn;
use std::task::{Context, Poll};

use tokio::time::Instant;

use super::added::AddedFields;
use super::attempt::Answer;
use super::downstream::Downstream;
use super::exchange::{Exchange, Then};
use super::http2;
use super::relay::{self, Broken, End, Relay, Sink, Source};
use super::response_head::ResponseHead;
use super::rewrite::{self, ResponseChanges};
use super::side::Side;
use super::tunnel;
use super::upload::Upload;
use super::upstream::Link;
use crate::Guard;

/// How much of a body is copied behind its head: a page. Longer ones are written with the head from where they
/// lie, in one vectored write.
const COPIED: usize = 4 << 10;

/// How a response that was being passed on ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The client has all of it.
    Whole,
    /// The backend broke off, and with it the client's connection.
    BackendBroke,
    /// The client went away, or stopped reading.
    ClientLeft,
}

/// A response that is being passed on.
struct Response {
    download: Download,
    upload: Upload,
    /// What is left of the upload is not wanted.
    ends_upload: bool,
    deadline: Option<Instant>,
    /// When all of it must be there.
    end: Option<Instant>,
    moved: u64,
}

/// A response's body on its way to either side.
enum Download {
    Connection(Relay),
    Stream(http2::Download),
}

impl Exchange<'_> {
    /// Passes a response on to the client, without the fields named in `removed` (in lower case) and with those
    /// of `added`; and goes on with the upload meanwhile.
    ///
    /// The guard is dropped when the response has ended, after [`Guard::note_broken`] if the backend broke off.
    pub async fn respond<G: Guard>(
        &mut self,
        answer: Answer,
        added: &AddedFields,
        removed: &[&[u8]],
        mut guard: G,
    ) -> Ending {
        let Answer { mut link, upstream, mut head, upload, end } = answer;
        self.status = head.status;
        // A backend that has answered and closes reads no more; and a client that waited for 100 and did not
        // get it sends nothing.
        let is_waiting = self.request.options.expects && upload.read() == 0;
        let ends_upload = !upload.is_done() && (!upload.is_going() || !head.keeps_alive || is_waiting);
        let keeps_alive = self.request.options.keeps_alive && self.watched.is_serving() && !ends_upload;
        let (download, keeps_alive) = match self.side {
            Side::Connection(client) if head.upgrade => {
                return Box::pin(self.change_protocol(client, link, head, added, removed)).await;
            }
            Side::Connection(client) => {
                let client = &mut client.borrow_mut();
                let (relay, keeps_alive) =
                    self.put_response(client, &mut link, &mut head, added, removed, keeps_alive);
                (Download::Connection(relay), keeps_alive)
            }
            Side::Stream(stream) => {
                let download = http2::Download::begin(self, stream, &mut link, &head, added, removed);
                // Whatever becomes of the upload, the connection goes on, and h2 ends the stream.
                (Download::Stream(download), true)
            }
        };
        let mut response = Response { download, upload, ends_upload, deadline: None, end, moved: 0 };
        let ending = poll_fn(|cx| response.poll(cx, self, &mut link)).await;
        if ending == Ending::BackendBroke {
            guard.note_broken();
        }
        let is_upload_done = response.upload.is_done();
        if ending == Ending::Whole {
            if head.keeps_alive && is_upload_done {
                upstream.check_in(link);
            }
            let is_stream = matches!(response.download, Download::Stream(_));
            let may_keep = is_stream || (keeps_alive && is_upload_done);
            self.then = if may_keep { Then::Keep } else { Then::Linger };
        }
        ending
    }

    /// Writes a response's head for a connection; gives what relays its body, and whether the connection can be
    /// kept after it.
    fn put_response(
        &self,
        client: &mut Downstream,
        link: &mut Link,
        head: &mut ResponseHead,
        added: &AddedFields,
        removed: &[&[u8]],
        keeps_alive: bool,
    ) -> (Relay, bool) {
        let is_http_10 = self.request.is_http_10();
        let is_unbounded = matches!(head.body, Source::Chunked(_) | Source::UntilClose);
        let sink = if is_unbounded && !is_http_10 { Sink::Chunked } else { Sink::Plain };
        let keeps_alive = keeps_alive && !(is_unbounded && is_http_10);
        let changes = ResponseChanges { added, removed, sink, keeps_alive, trace: &self.trace() };
        rewrite::put_response(&mut client.output, link.input.filled(), head, &self.request, &changes);
        link.input.consume(head.end);
        (Relay::new(head.body, sink), keeps_alive)
    }

    async fn change_protocol(
        &mut self,
        client: &RefCell<Downstream>,
        mut link: Box<Link>,
        mut head: ResponseHead,
        added: &AddedFields,
        removed: &[&[u8]],
    ) -> Ending {
        let downstream = client;
        {
            let mut client = downstream.borrow_mut();
            client.is_watched = false;
            let trace = self.trace();
            let changes =
                ResponseChanges { added, removed, sink: Sink::Plain, keeps_alive: true, trace: &trace };
            let bytes = link.input.filled();
            rewrite::put_response(&mut client.output, bytes, &mut head, &self.request, &changes);
            link.input.consume(head.end);
            // What the client sent behind its request belongs to the new protocol.
            let rest = self.request.take_rest();
            client.input.put_before(&rest);
        }
        tunnel::run(downstream, &mut link).await
    }
}

impl Response {
    fn poll(&mut self, cx: &mut Context<'_>, exchange: &Exchange<'_>, link: &mut Link) -> Poll<Ending> {
        let downloaded = self.poll_download(cx, exchange.side, link);
        if let Poll::Ready(Some(ending)) = downloaded {
            return Poll::Ready(ending);
        }
        if self.upload.is_going() && !self.ends_upload {
            let before = self.upload.read();
            let polled = exchange.side.poll_upload(cx, &mut self.upload, &exchange.request, link);
            exchange.note_upload(&self.upload, before);
            match polled {
                Poll::Ready(Err(Broken::Source(_) | Broken::Malformed)) => {
                    return Poll::Ready(Ending::ClientLeft);
                }
                // The backend has had enough of it; its response goes on.
                Poll::Ready(Err(Broken::Sink(_))) => self.ends_upload = true,
                Poll::Ready(Ok(())) | Poll::Pending => {}
            }
        }
        if downloaded.is_ready() && (self.ends_upload || !self.upload.is_going()) {
            return Poll::Ready(Ending::Whole);
        }
        let deadline = self.deadline(exchange);
        if !exchange.side.poll_due(cx, deadline) {
            return Poll::Pending;
        }
        let is_backends = downloaded.is_pending() && self.download.waits_for_backend();
        Poll::Ready(if is_backends { Ending::BackendBroke } else { Ending::ClientLeft })
    }

    /// Moves the response; ready when it is written, with an ending if that is not whole.
    fn poll_download(
        &mut self,
        cx: &mut Context<'_>,
        side: Side<'_>,
        link: &mut Link,
    ) -> Poll<Option<Ending>> {
        match (&mut self.download, side) {
            (Download::Connection(relay), Side::Connection(client)) => {
                poll_relay(cx, relay, &mut client.borrow_mut(), link)
            }
            (Download::Stream(download), Side::Stream(stream)) => {
                download.poll(cx, &mut stream.borrow_mut(), link)
            }
            _ => unreachable!("a download goes where its head went"),
        }
    }

    /// Gives until when something must move.
    fn deadline(&mut self, exchange: &Exchange<'_>) -> Instant {
        let moved = self.download.moved() + self.upload.read() + self.upload.written();
        let deadline = match self.deadline {
            Some(deadline) if moved == self.moved => deadline,
            _ => Instant::now() + exchange.rules.limits.body_idle,
        };
        self.moved = moved;
        self.deadline = Some(deadline);
        self.end.map_or(deadline, |end| end.min(deadline))
    }
}

impl Download {
    fn waits_for_backend(&self) -> bool {
        let waits_for = match self {
            Self::Connection(relay) => relay.waits_for,
            Self::Stream(download) => download.waits_for,
        };
        waits_for == relay::Side::Source
    }

    /// Gives how many bytes moved on either side.
    fn moved(&self) -> u64 {
        match self {
            Self::Connection(relay) => relay.read + relay.written,
            Self::Stream(download) => download.moved,
        }
    }
}

/// Moves a response to a connection.
fn poll_relay(
    cx: &mut Context<'_>,
    download: &mut Relay,
    client: &mut Downstream,
    link: &mut Link,
) -> Poll<Option<Ending>> {
    // What came with the head goes with the head: a little of it is copied behind it, much of it is written
    // from where it lies.
    if !link.input.is_empty() && (link.input.len() <= COPIED || download.sink == Sink::Chunked) {
        match download.source.transfer(link.input.filled(), &mut client.output, download.sink) {
            Ok(count) => link.input.consume(count),
            Err(_) => return Poll::Ready(Some(Ending::BackendBroke)),
        }
    }
    let from = End { stream: &mut link.stream, buffer: &mut link.input };
    let to = End { stream: &mut client.stream, buffer: &mut client.output };
    let before = download.written;
    let polled = download.poll(cx, from, to);
    client.sent += download.written - before;
    polled.map(|ended| match ended {
        Ok(()) => None,
        Err(Broken::Sink(_)) => Some(Ending::ClientLeft),
        Err(Broken::Source(_) | Broken::Malformed) => Some(Ending::BackendBroke),
    })
}

/// Gives the line that says what becomes of the client's connection.
pub(super) fn connection_line(keeps_alive: bool, is_http_10: bool) -> &'static [u8] {
    match (keeps_alive, is_http_10) {
        (false, _) => b"Connection: close\r\n",
        (true, true) => b"Connection: keep-alive\r\n",
        (true, false) => b"",
    }
}
