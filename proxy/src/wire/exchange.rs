//! One request and its response, as a handler sees them.

use std::rc::Rc;

use process::{Problem, TraceContext};

use super::Upstream;
use crate::{Client, ForwardError, Guard, Progress, Timeouts};

/// A client's request that waits for its answer.
#[derive(Debug)]
pub struct Exchange<'c> {
    request: Request,
    client: &'c Client,
    trace: TraceContext,
}

/// A request's head, checked and as it was received.
#[derive(Debug)]
pub struct Request {}

/// How a request's body comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyKind {
    /// There is none.
    None,
    /// All of it came with the head.
    InHand,
    /// It is still to come, at least in part.
    Streamed,
}

impl Request {
    /// Gives the method.
    pub fn method(&self) -> &[u8] {
        b"GET"
    }

    /// Gives the target in origin form (or `*`): path and query.
    pub fn target(&self) -> &[u8] {
        b"/"
    }

    /// Gives the target without its query.
    pub fn path(&self) -> &[u8] {
        b"/"
    }

    /// Gives the host it is for, with the port if the client named one; empty if the client named none.
    pub fn host(&self) -> &[u8] {
        b""
    }

    /// Gives the first value of a field; the name in lower case.
    pub fn field(&self, name: &[u8]) -> Option<&[u8]> {
        let _ = name;
        None
    }

    /// Tells whether the client speaks HTTP/1.0.
    pub fn is_http_10(&self) -> bool {
        false
    }

    /// Tells whether the method may be repeated without a further effect (RFC 9110 §9.2.2).
    pub fn is_idempotent(&self) -> bool {
        true
    }

    /// Tells how the body comes.
    pub fn body(&self) -> BodyKind {
        BodyKind::None
    }
}

/// A backend's response whose head is there, not yet passed on. Dropping it closes the connection.
#[derive(Debug)]
pub struct Answer {}

impl Answer {
    /// Gives the status.
    pub fn status(&self) -> u16 {
        200
    }

    /// Gives the first value of a field; the name in lower case.
    pub fn field(&self, name: &[u8]) -> Option<&[u8]> {
        let _ = name;
        None
    }
}

/// Field lines to add to a response, written into one reusable buffer.
#[derive(Debug, Default, Clone)]
pub struct AddedFields(Vec<u8>);

impl AddedFields {
    /// Forgets all lines but keeps the room.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Adds a line. What a field value must not hold (CR, LF, other controls) is left out.
    pub fn push(&mut self, name: &str, value: &[u8]) {
        self.0.extend_from_slice(name.as_bytes());
        self.0.extend_from_slice(b": ");
        self.0.extend(value.iter().filter(|byte| **byte >= b' ' && **byte != 0x7f));
        self.0.extend_from_slice(b"\r\n");
    }
}

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

impl Exchange<'_> {
    /// Gives the request.
    pub fn request(&self) -> &Request {
        &self.request
    }

    /// Gives who asked.
    pub fn client(&self) -> &Client {
        self.client
    }

    /// Gives the trace the request belongs to, with the span of this hop. Its ID is added to every response as
    /// `X-Request-Id`, unless the backend has set one.
    pub fn trace(&self) -> TraceContext {
        self.trace
    }

    /// Tells whether the request can be sent a second time: it has no body, or all of it is in hand.
    pub fn is_replayable(&self) -> bool {
        true
    }

    /// Gives how a streamed upload goes on; `None` if there is none.
    pub fn upload(&self) -> Option<&Progress> {
        None
    }

    /// Sends the request to a backend and waits for the head of the final response; interim ones (1xx) go to
    /// the client at once.
    ///
    /// A kept connection that turns out to be closed is replaced without a word if the request may be
    /// repeated. Two attempts may be raced if the request is replayable; dropping the future closes its
    /// connection. After an error that [`ForwardError::is_unsent`] any request may be tried elsewhere.
    pub async fn attempt(
        &self,
        upstream: &Rc<Upstream>,
        timeouts: &Timeouts,
    ) -> Result<Answer, ForwardError> {
        let _ = timeouts;
        Err(ForwardError::Malformed { backend: upstream.address() })
    }

    /// Passes a response on to the client, without the fields named in `removed` (in lower case) and with those
    /// of `added`; and goes on with the upload meanwhile.
    ///
    /// The guard is dropped when the response has ended, after [`Guard::note_broken`] if the backend broke off.
    pub async fn respond<G: Guard>(
        &mut self,
        answer: Answer,
        added: &AddedFields,
        removed: &[&[u8]],
        guard: G,
    ) -> Ending {
        let _ = (answer, added, removed, guard);
        Ending::Whole
    }

    /// Answers with a problem.
    pub async fn refuse(&mut self, problem: &Problem, added: &AddedFields) {
        let _ = (problem, added);
    }

    /// Gives the status the client was answered with; 0 before that.
    pub fn status(&self) -> u16 {
        0
    }

    /// Gives how many bytes of the request's body, as it travels, have come so far.
    pub fn received(&self) -> u64 {
        0
    }

    /// Gives how many bytes of a response, with its head, were sent.
    pub fn sent(&self) -> u64 {
        0
    }
}
