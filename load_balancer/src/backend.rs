//! One backend and what is known about it: atomics that every thread of the data plane writes.

use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::clock::now_ns;
use crate::health::State;
use crate::histogram::WindowedHistogram;
use crate::selection::{Candidate, Signals};
use crate::uptime::Uptime;

/// So many failed connects in a row put a backend out until a probe succeeds; one may be a passing fault.
const EJECT_AFTER: u32 = 2;

/// One backend. Aligned to two cache lines, so that threads counting at neighbours do not disturb each other.
#[derive(Debug)]
#[repr(align(128))]
pub struct Backend {
    signals: Signals,
    connect_failures: AtomicU32,
    state: AtomicU8,
    requests: AtomicU64,
    errors: AtomicU64,
    /// Grows when the address changes, so that a thread sees it by one load.
    generation: AtomicU64,
    histogram: WindowedHistogram,
    cluster: Arc<str>,
    name: String,
    address: Mutex<Option<SocketAddr>>,
    uptime: Mutex<Uptime>,
}

/// What is known about a backend, as `GET /v1/backends` tells it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BackendReport {
    /// The address as configured.
    pub address: String,
    /// Where it stands.
    pub state: State,
    /// Requests it is working on.
    pub in_flight: u32,
    /// Estimated latency in milliseconds.
    pub ewma_ms: f64,
    /// Median latency of the last minute in milliseconds; null without requests.
    pub p50_ms: Option<f64>,
    /// 90th percentile of the last minute in milliseconds.
    pub p90_ms: Option<f64>,
    /// 99th percentile of the last minute in milliseconds.
    pub p99_ms: Option<f64>,
    /// Requests sent to it.
    pub requests: u64,
    /// Requests that failed or were answered with 500 to 599.
    pub errors: u64,
    /// The share of the time since the start in which it could be used, 0 to 1.
    pub availability: f64,
}

impl Backend {
    /// Makes a backend that is tried although nothing is known about it.
    pub(crate) fn new(cluster: &Arc<str>, name: &str) -> Self {
        let backend = Self {
            signals: Signals::new(now_ns()),
            connect_failures: AtomicU32::new(0),
            state: AtomicU8::new(State::Unknown as u8),
            requests: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            generation: AtomicU64::new(0),
            histogram: WindowedHistogram::default(),
            cluster: Arc::clone(cluster),
            name: name.to_owned(),
            address: Mutex::new(None),
            uptime: Mutex::new(Uptime::new(now_ns())),
        };
        backend.signals.set_available(false);
        backend.resolve();
        backend
    }

    /// Gives the name of its cluster.
    pub fn cluster(&self) -> &str {
        &self.cluster
    }

    /// Gives the address as configured.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Gives the address requests go to; `None` while the name has none.
    pub fn address(&self) -> Option<SocketAddr> {
        *self.address.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives a number that changes with the address.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Relaxed)
    }

    /// Looks the name up; blocks while the resolver does, so it belongs on the probing thread.
    pub(crate) fn resolve(&self) {
        let found = match self.name.parse() {
            Ok(address) => Some(address),
            Err(_) => self.name.to_socket_addrs().ok().and_then(|mut found| found.next()),
        };
        let mut address = self.address.lock().unwrap_or_else(PoisonError::into_inner);
        // A resolver that fails for a moment takes no backend away.
        if found.is_some() && *address != found {
            *address = found;
            self.generation.fetch_add(1, Relaxed);
            self.signals.set_available(self.state().is_available());
        }
    }

    /// Gives where it stands.
    pub fn state(&self) -> State {
        State::from_number(self.state.load(Relaxed))
    }

    /// Moves it from one state to another, if it still is in the first.
    pub(crate) fn change_state(&self, from: State, to: State) -> bool {
        let changed =
            from != to && self.state.compare_exchange(from as u8, to as u8, Relaxed, Relaxed).is_ok();
        if changed {
            self.connect_failures.store(0, Relaxed);
            // A backend whose name was never resolved has generation 0.
            self.signals.set_available(to.is_available() && self.generation() != 0);
            self.uptime().change(to.is_available(), now_ns());
            let (cluster, backend) = (self.cluster(), self.name());
            if (from, to) == (State::Unknown, State::Up) {
                // Every start would tell it of every backend, and it is what everybody expects.
                tracing::debug!(cluster, backend, %from, %to, "a backend changed its state");
            } else {
                tracing::info!(cluster, backend, %from, %to, "a backend changed its state");
            }
        }
        changed
    }

    /// Counts a request in; dropping what it gives counts it out.
    pub(crate) fn begin(self: &Arc<Self>, now_ns: u64) -> InFlight {
        self.requests.fetch_add(1, Relaxed);
        InFlight { in_flight: self.signals.begin(now_ns), backend: Arc::clone(self) }
    }

    /// Takes in a response: its latency, if that is known, the requests in flight when it was asked for, and
    /// whether it was one below 500.
    pub(crate) fn note_response(&self, latency_ns: Option<u64>, in_flight: u32, is_good: bool, now_ns: u64) {
        if let Some(latency_ns) = latency_ns {
            self.signals.note_answer(latency_ns, in_flight, now_ns);
            self.histogram.record(latency_ns, now_ns);
        }
        if !is_good {
            self.note_error(now_ns);
        }
        // Read first: a write to a line all threads share costs more than a look.
        if self.connect_failures.load(Relaxed) != 0 {
            self.connect_failures.store(0, Relaxed);
        }
    }

    /// Takes in a request that got no response, or one that broke off.
    pub(crate) fn note_error(&self, now_ns: u64) {
        self.errors.fetch_add(1, Relaxed);
        self.signals.note_failure(now_ns);
    }

    /// Takes in a connect that failed; several in a row put the backend out.
    pub(crate) fn note_connect_failure(&self, now_ns: u64) {
        self.note_error(now_ns);
        let state = self.state();
        if self.connect_failures.fetch_add(1, Relaxed) + 1 >= EJECT_AFTER && state.is_available() {
            self.change_state(state, State::Ejected);
        }
    }

    /// Takes in a probe's latency, of a backend that had no other requests.
    pub(crate) fn note_probe_latency(&self, latency_ns: u64, now_ns: u64) {
        self.signals.note_probe(latency_ns, now_ns);
    }

    /// Gives the requests sent to it.
    pub fn requests(&self) -> u64 {
        self.requests.load(Relaxed)
    }

    /// Tells what is known.
    pub fn report(&self) -> BackendReport {
        let now = now_ns();
        let quantiles = self.histogram.quantiles([0.5, 0.9, 0.99], now);
        let milliseconds = |index: usize| quantiles.map(|all| round(all[index] / 1e6));
        BackendReport {
            address: self.name.clone(),
            state: self.state(),
            in_flight: self.signals.in_flight(),
            ewma_ms: round(self.signals.latency_ns(now) / 1e6),
            p50_ms: milliseconds(0),
            p90_ms: milliseconds(1),
            p99_ms: milliseconds(2),
            requests: self.requests(),
            errors: self.errors.load(Relaxed),
            availability: self.uptime().availability(now),
        }
    }

    fn uptime(&self) -> MutexGuard<'_, Uptime> {
        self.uptime.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Candidate for Backend {
    fn signals(&self) -> &Signals {
        &self.signals
    }
}

/// A request a backend is working on; it ends when this is dropped.
#[derive(Debug)]
pub struct InFlight {
    backend: Arc<Backend>,
    in_flight: u32,
}

impl InFlight {
    /// Gives the backend.
    pub fn backend(&self) -> &Arc<Backend> {
        &self.backend
    }

    /// Gives the requests that were in flight when this one began, with it.
    pub(crate) fn in_flight(&self) -> u32 {
        self.in_flight
    }
}

impl proxy::Guard for InFlight {
    fn note_broken(&mut self) {
        self.backend.note_error(now_ns());
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.backend.signals.end();
    }
}

/// Rounds to thousandths: nobody reads more.
fn round(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

#[cfg(test)]
impl Backend {
    pub(crate) fn for_tests(name: &str) -> Self {
        Self::new(&"test".into(), name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refused_connects_in_a_row_put_a_backend_out() {
        let backend = Backend::for_tests("127.0.0.1:1");
        backend.note_connect_failure(1);
        backend.note_response(Some(1), 1, true, 2);
        backend.note_connect_failure(3);
        assert!(backend.signals().is_available(), "an answer in between forgives the first");
        backend.note_connect_failure(4);
        assert_eq!(backend.state(), State::Ejected);
        assert!(!backend.signals().is_available());
        assert_eq!(backend.report().errors, 3);
    }

    #[test]
    fn a_request_counts_as_in_flight_until_its_guard_is_dropped() {
        let backend = Arc::new(Backend::for_tests("127.0.0.1:1"));
        let guard = backend.begin(1);
        assert_eq!(backend.report().in_flight, 1);
        drop(guard);
        assert_eq!((backend.report().in_flight, backend.requests()), (0, 1));
    }

    #[test]
    fn a_name_without_an_address_is_not_available() {
        assert!(!Backend::for_tests("no-such-host.invalid:80").signals().is_available());
        assert!(Backend::for_tests("localhost:80").signals().is_available());
    }
}
