//! The one body type of the data plane: streamed or whole, without a box on the common path.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};

use crate::Progress;

/// Something that lives as long as a body is being sent, such as a count of requests in flight.
pub trait Guard: Unpin + 'static {
    /// Notes that the body broke off before its end.
    fn note_broken(&mut self) {}
}

impl Guard for () {}

/// A request's or a response's body; it drops its guard when it ends.
#[derive(Debug)]
pub struct Body<G = ()> {
    content: Content,
    guard: Option<G>,
    /// Bytes that may still come; more break the body off.
    allowed: u64,
}

/// The bytes allowed to a body without a limit.
const UNLIMITED: u64 = u64::MAX;

#[derive(Debug)]
enum Content {
    Empty,
    Whole(Bytes),
    Streamed(Incoming),
    /// An upload which notes when it last moved, so that a long one is not taken for a silent backend.
    Watched(Incoming, Progress),
    /// A stream that must end in time; boxed because few requests have such a limit.
    Limited(Box<Limited>),
}

/// A stream with an end, and whose time it has taken so far.
#[derive(Debug)]
struct Limited {
    incoming: Incoming,
    end: Pin<Box<Sleep>>,
    began: Instant,
    /// Since when the backend is waited for, and how long it was before.
    waits_since: Option<Instant>,
    waited: Duration,
}

impl Limited {
    fn new(incoming: Incoming, deadline: Instant) -> Self {
        let end = Box::pin(tokio::time::sleep_until(deadline));
        Self { incoming, end, began: Instant::now(), waits_since: None, waited: Duration::ZERO }
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.end.as_mut().poll(cx).is_ready() {
            let error = if self.is_backends_time() { BodyError::Deadline } else { BodyError::ClientDeadline };
            return Poll::Ready(Some(Err(error)));
        }
        let polled = http_body::Body::poll_frame(Pin::new(&mut self.incoming), cx).map_err(BodyError::from);
        if polled.is_pending() {
            self.waits_since.get_or_insert_with(Instant::now);
        } else if let Some(since) = self.waits_since.take() {
            self.waited += since.elapsed();
        }
        polled
    }

    /// Tells whether it was mostly the backend that was waited for, and not the client to take what was there.
    fn is_backends_time(&self) -> bool {
        let waited = self.waited + self.waits_since.map_or(Duration::ZERO, |since| since.elapsed());
        waited > self.began.elapsed() / 2
    }
}

/// Why a body broke off.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The connection it comes from broke.
    #[error(transparent)]
    Connection(#[from] hyper::Error),
    /// It did not end in time.
    #[error("the body did not end in time")]
    Deadline,
    /// It did not end in time because its client took it too slowly, which is not the backend's fault.
    #[error("the client did not take the body in time")]
    ClientDeadline,
    /// It is larger than [`Body::limit`] allows.
    #[error("the body is too large")]
    TooLarge,
}

impl Body {
    /// Makes an empty body.
    pub fn empty() -> Self {
        Self { content: Content::Empty, guard: None, allowed: UNLIMITED }
    }

    /// Makes a stream break off with [`BodyError::TooLarge`] when more than so many bytes come.
    pub fn limit(mut self, bytes: u64) -> Self {
        self.allowed = bytes;
        self
    }

    /// Attaches a guard, which is dropped when the body ends or is dropped.
    pub fn guarded<G: Guard>(self, guard: G) -> Body<G> {
        Body { content: self.content, guard: Some(guard), allowed: self.allowed }
    }

    /// Makes it the type of a guarded body, without a guard.
    pub fn unguarded<G: Guard>(self) -> Body<G> {
        Body { content: self.content, guard: None, allowed: self.allowed }
    }

    /// Asks the body to note how it goes on, if it is a stream; asked again it gives the same.
    pub fn watch(&mut self) -> Option<Progress> {
        match std::mem::replace(&mut self.content, Content::Empty) {
            Content::Streamed(incoming) => {
                let progress = Progress::new();
                self.content = Content::Watched(incoming, progress.clone());
                Some(progress)
            }
            Content::Watched(incoming, progress) => {
                self.content = Content::Watched(incoming, progress.clone());
                Some(progress)
            }
            other => {
                self.content = other;
                None
            }
        }
    }

    /// Makes a stream break off unless it ends in time.
    pub(crate) fn end_by(self, deadline: Instant) -> Self {
        match self.content {
            Content::Streamed(incoming) => {
                Self { content: Content::Limited(Box::new(Limited::new(incoming, deadline))), ..self }
            }
            content => Self { content, ..self },
        }
    }

    /// Tells whether the body can be sent a second time as it is, and if so gives a copy.
    pub fn replay(&self) -> Option<Self> {
        match &self.content {
            Content::Empty => Some(Self::empty()),
            Content::Whole(bytes) => Some(Self::from(bytes.clone())),
            _ => None,
        }
    }
}

impl From<Incoming> for Body {
    fn from(incoming: Incoming) -> Self {
        let is_empty = http_body::Body::is_end_stream(&incoming);
        let content = if is_empty { Content::Empty } else { Content::Streamed(incoming) };
        Self { content, guard: None, allowed: UNLIMITED }
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        let content = if bytes.is_empty() { Content::Empty } else { Content::Whole(bytes) };
        Self { content, guard: None, allowed: UNLIMITED }
    }
}

impl<G: Guard> http_body::Body for Body<G> {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let mut polled = match &mut this.content {
            Content::Empty => Poll::Ready(None),
            Content::Whole(bytes) => {
                let bytes = std::mem::take(bytes);
                this.content = Content::Empty;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Content::Streamed(incoming) => Pin::new(incoming).poll_frame(cx).map_err(BodyError::from),
            Content::Watched(incoming, progress) => {
                let polled = Pin::new(incoming).poll_frame(cx).map_err(BodyError::from);
                if polled.is_ready() {
                    progress.note_moved();
                } else {
                    progress.note_waiting();
                }
                polled
            }
            Content::Limited(limited) => limited.poll_frame(cx),
        };
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(data) = frame.data_ref()
        {
            match this.allowed.checked_sub(data.len() as u64) {
                Some(left) => this.allowed = left,
                None => polled = Poll::Ready(Some(Err(BodyError::TooLarge))),
            }
        }
        match &polled {
            Poll::Ready(None) => this.guard = None,
            Poll::Ready(Some(Err(error))) => {
                if let Some(mut guard) = this.guard.take()
                    && !matches!(error, BodyError::ClientDeadline)
                {
                    guard.note_broken();
                }
            }
            _ => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Empty => true,
            Content::Whole(bytes) => bytes.is_empty(),
            Content::Streamed(incoming) | Content::Watched(incoming, _) => incoming.is_end_stream(),
            Content::Limited(limited) => limited.incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Empty => SizeHint::with_exact(0),
            Content::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Content::Streamed(incoming) | Content::Watched(incoming, _) => incoming.size_hint(),
            Content::Limited(limited) => limited.incoming.size_hint(),
        }
    }
}
