//! A backend's response on its way to the client, beside what is left of the upload.

use std::cell::RefCell;
use std::future::poll_fn;
use std::task::{Context, Poll};

use process::Problem;
use process::problem::kinds;
use tokio::time::Instant;

use super::attempt::Answer;
use super::body::download::Download;
use super::body::relay::{Broken, Relay, Sink, Source};
use super::body::upload::Upload;
use super::carrier::Carrier;
use super::downstream::Downstream;
use super::exchange::{Exchange, Then};
use super::head::added::AddedFields;
use super::head::response_head::ResponseHead;
use super::head::rewrite::{self, ResponseChanges};
use super::http2;
use super::side::Side;
use super::tunnel;
use super::upstream::Link;
use crate::Guard;

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
        let Answer { carrier, upstream, mut head, upload, end } = answer;
        self.status = head.status;
        self.side.forget();
        // A backend that has answered and closes reads no more; and a client that waited for 100 and did not
        // get it sends nothing.
        let is_waiting = self.request.options.expects && upload.read() == 0;
        let ends_upload = !upload.is_done() && (!upload.is_going() || !head.keeps_alive || is_waiting);
        let keeps_alive = self.request.options.keeps_alive && self.watched.is_serving() && !ends_upload;
        let mut carrier = match (self.side, carrier) {
            (Side::Connection(client), Carrier::Link(link)) if head.upgrade => {
                return Box::pin(self.change_protocol(client, link, head, added, removed)).await;
            }
            (_, carrier) => carrier,
        };
        let mut before = 0;
        let (download, keeps_alive) = match self.side {
            Side::Connection(client) => {
                let client = &mut client.borrow_mut();
                before = client.output.len();
                let (relay, keeps_alive) =
                    self.put_response(client, &mut carrier, &mut head, added, removed, keeps_alive);
                (Download::Connection(relay), keeps_alive)
            }
            Side::Stream(stream) => {
                let (trace, input) = (self.trace(), carrier.input_mut());
                let message = http2::message(input.filled(), &head, added, removed, &trace);
                input.consume(head.end);
                if !stream.borrow_mut().send_head(message, head.body.has_ended()) {
                    return Ending::ClientLeft;
                }
                // Whatever becomes of the upload, the connection goes on, and h2 ends the stream.
                (Download::Stream(carrier.begin_frames(head.body)), true)
            }
        };
        let mut response = Response { download, upload, ends_upload, deadline: None, end, moved: 0 };
        let ending = poll_fn(|cx| response.poll(cx, self, &mut carrier)).await;
        if ending == Ending::BackendBroke {
            guard.note_broken();
            if let Side::Connection(client) = self.side
                && response.download.is_unsent()
            {
                client.borrow_mut().output.truncate(before);
                let problem = Problem::new(kinds::BAD_GATEWAY).detail("the backend's answer is not whole");
                // Boxed: it is rare, and would make the future of every response larger.
                Box::pin(self.refuse(&problem, added)).await;
                return ending;
            }
        }
        let is_upload_done = response.upload.is_done();
        if ending == Ending::Whole {
            if let Carrier::Link(link) = carrier
                && head.keeps_alive
                && is_upload_done
            {
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
        carrier: &mut Carrier,
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
        let input = carrier.input_mut();
        rewrite::put_response(&mut client.output, input.filled(), head, &self.request, &changes);
        input.consume(head.end);
        (Relay::new(carrier.source_of_bytes(head.body), sink), keeps_alive)
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
        tunnel::run(downstream, &mut link, &self.rules.limits).await
    }
}

impl Response {
    fn poll(&mut self, cx: &mut Context<'_>, exchange: &Exchange<'_>, carrier: &mut Carrier) -> Poll<Ending> {
        let downloaded = self.download.poll(cx, exchange.side, carrier);
        if let Poll::Ready(Some(ending)) = downloaded {
            return Poll::Ready(ending);
        }
        if self.upload.is_going() && !self.ends_upload {
            let before = self.upload.read();
            let polled = exchange.side.poll_upload(cx, &mut self.upload, &exchange.request, carrier);
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
        let is_backends = downloaded.is_pending() && self.download.waits_for_backend();
        let deadline = match self.end {
            None if is_backends && carrier.is_watched() => return Poll::Pending,
            Some(end) if is_backends && carrier.is_watched() => end,
            _ => self.deadline(exchange),
        };
        if !exchange.side.poll_due(cx, deadline) {
            return Poll::Pending;
        }
        Poll::Ready(if is_backends { Ending::BackendBroke } else { Ending::ClientLeft })
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
