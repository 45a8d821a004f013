//! One attempt at one backend, and what is noted of it.

use std::sync::Arc;

use proxy::ForwardError;

use super::Lane;
use crate::clock::now_ns;
use crate::cluster::Admission;
use crate::view::View;
use crate::{Backend, InFlight};

/// A lane's answer from a backend, with what counts it as in flight until it has been passed on.
#[derive(Debug)]
pub(crate) struct Sent<R> {
    pub(crate) reply: R,
    pub(crate) passing: Passing,
}

/// A request from its place at a backend to the end of its response; it makes room when it is dropped.
#[derive(Debug)]
pub struct Passing {
    in_flight: InFlight,
    /// Its part of what all backends together work on, where that is limited.
    pub(super) admission: Option<Admission>,
}

impl Passing {
    /// Gives the backend that answered.
    pub fn backend(&self) -> &Arc<Backend> {
        self.in_flight.backend()
    }
}

impl proxy::Guard for Passing {
    fn note_broken(&mut self) {
        self.in_flight.note_broken();
    }
}

/// What became of one attempt.
pub(super) struct Outcome<R> {
    pub(super) took_ns: u64,
    pub(super) result: Result<Sent<R>, ForwardError>,
}

/// A place at a backend, taken by a request.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) index: usize,
    in_flight: InFlight,
    started_ns: u64,
}

impl Place {
    pub(super) fn new(index: usize, in_flight: InFlight, started_ns: u64) -> Self {
        Self { index, in_flight, started_ns }
    }
}

/// An attempt under way. Given up, it notes that its backend took at least so long; else a backend that loses
/// every race would be taken for unknown, and be chosen again.
struct Attempt {
    in_flight: Option<InFlight>,
    started_ns: u64,
    /// Whether all of the request was the backend's to work on, so that the time was its own.
    is_whole: bool,
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if let Some(mut in_flight) = self.in_flight.take()
            && self.is_whole
        {
            let now = now_ns();
            in_flight.note_canceled(now.saturating_sub(self.started_ns), now);
        }
    }
}

/// Tries one backend and notes how it went.
pub(super) async fn attempt<L: Lane>(lane: &L, view: &View, place: Place) -> Outcome<L::Reply> {
    let Place { index, mut in_flight, started_ns } = place;
    if !lane.is_whole() {
        // It waits for its client too, who could else keep a place for as long as he likes.
        in_flight.give_place();
    }
    let mut under_way = Attempt { in_flight: Some(in_flight), started_ns, is_whole: lane.is_repeatable() };
    let result = lane.attempt(view, index).await;
    let now = now_ns();
    let took_ns = now.saturating_sub(started_ns);
    let Some(mut in_flight) = under_way.in_flight.take() else {
        unreachable!("nobody else takes it");
    };
    match &result {
        Ok(reply) => {
            if let Some(load) = lane.load(reply) {
                in_flight.backend().note_load(load, now);
            }
            in_flight.note_response(lane.status(reply), lane.latency_ns(took_ns), now);
        }
        // Without an address it is as little there as where nobody listens; probes say the same of both.
        Err(ForwardError::Connect { .. } | ForwardError::NoAddress { .. }) => {
            in_flight.note_connect_failure(now)
        }
        Err(error) if error.tells_of_backend() => in_flight.note_error(now),
        Err(_) => {}
    }
    Outcome {
        took_ns,
        result: result.map(|reply| Sent { reply, passing: Passing { in_flight, admission: None } }),
    }
}
