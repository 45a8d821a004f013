//! A request a backend is working on.

use std::sync::Arc;

use crate::Backend;
use crate::clock::now_ns;

/// A request a backend is working on; it ends when this is dropped.
#[derive(Debug)]
pub struct InFlight {
    backend: Arc<Backend>,
    in_flight: u32,
    /// Whether it was noted how the request ended.
    is_noted: bool,
    /// Whether it takes one of the places the backend's limit gives.
    has_place: bool,
}

impl InFlight {
    pub(super) fn new(backend: Arc<Backend>, in_flight: u32) -> Self {
        Self { backend, in_flight, is_noted: false, has_place: true }
    }

    /// Gives the backend.
    pub fn backend(&self) -> &Arc<Backend> {
        &self.backend
    }

    /// Gives the requests that were in flight when this one began, with it.
    pub fn in_flight(&self) -> u32 {
        self.in_flight
    }

    /// Gives its place to another: the answer has begun, or what is waited for is the client's. It stays in
    /// flight.
    pub fn give_place(&mut self) {
        if std::mem::take(&mut self.has_place) {
            self.backend.give_place();
        }
    }

    /// Notes the head of a response: its status, and how long the backend took, if that is known.
    pub fn note_response(&mut self, status: u16, latency_ns: Option<u64>, now_ns: u64) {
        self.is_noted = true;
        self.give_place();
        self.backend.note_response(status, latency_ns, self.in_flight, now_ns);
    }

    /// Notes that no response came, through the backend's fault.
    pub fn note_error(&mut self, now_ns: u64) {
        self.is_noted = true;
        self.give_place();
        self.backend.note_error(now_ns);
    }

    /// Notes that no connection could be opened.
    pub fn note_connect_failure(&mut self, now_ns: u64) {
        self.is_noted = true;
        self.give_place();
        self.backend.note_connect_failure(now_ns);
    }

    /// Notes that the request was given up without an answer, because another backend was faster or the
    /// client left. Dropping it without a note counts as this, without the time.
    pub fn note_canceled(&mut self, elapsed_ns: u64, now_ns: u64) {
        self.is_noted = true;
        self.give_place();
        self.backend.note_canceled(elapsed_ns, self.in_flight, now_ns);
    }
}

impl proxy::Guard for InFlight {
    fn note_broken(&mut self) {
        self.backend.note_broken(now_ns());
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if !self.is_noted {
            self.backend.note_canceled(0, self.in_flight, now_ns());
        }
        self.give_place();
        self.backend.signals.end_passing();
    }
}
