//! One backend and what is known about it: atomics that every thread of the data plane writes.

pub(crate) mod condition;
pub(crate) mod histogram;
mod in_flight;
pub(crate) mod rates;
mod report;
#[cfg(test)]
mod tests;
mod uptime;

use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::Notify;

use crate::Cluster;
use crate::cluster::Options;
use crate::health::State;
use crate::queue::Queue;
use crate::selection::{Candidate, Load, Signals};

use condition::Condition;
use histogram::WindowedHistogram;
pub use in_flight::InFlight;
use rates::{Class, Rates};
pub use report::BackendReport;
use uptime::Uptime;

/// So many failed connects in a row put a backend out until a probe succeeds; one may be a passing fault.
const DEAD_AFTER: u32 = 2;

/// So many of those that wait come to a backend at once, whatever its limit; the others follow as it answers.
/// More would overrun the accept queue of one that has just begun to listen.
const AT_ONCE: u32 = 256;

static NEXT_NUMBER: AtomicU64 = AtomicU64::new(1);

/// One backend. It stays the same, with all that is known of it, for as long as its name is a member.
///
/// Aligned to two cache lines, so that threads counting at neighbours do not disturb each other.
#[derive(Debug)]
#[repr(align(128))]
pub struct Backend {
    signals: Signals,
    /// A [`State`].
    pub(crate) standing: AtomicU8,
    /// The most requests it may work on.
    pub(crate) limit: AtomicU32,
    /// The most it worked on since the limit was last looked at.
    pub(crate) peak: AtomicU32,
    /// Failures since the last good answer.
    pub(crate) run: AtomicU32,
    connect_failures: AtomicU32,
    pub(crate) trial_good: AtomicU32,
    pub(crate) trial_slow: AtomicU32,
    requests: AtomicU64,
    errors: AtomicU64,
    /// Requests given up because another backend answered first, or the client left.
    pub(crate) canceled: AtomicU64,
    pub(crate) latency_sum_ns: AtomicU64,
    /// Grows when the address changes, so that a thread sees it by one load.
    generation: AtomicU64,
    load: AtomicU64,
    pub(crate) rates: Rates,
    pub(crate) histogram: WindowedHistogram,
    number: u64,
    name: String,
    cluster: Arc<str>,
    home: Weak<Cluster>,
    queue: Arc<Queue>,
    address: Mutex<Option<SocketAddr>>,
    condition: Mutex<Condition>,
    uptime: Mutex<Uptime>,
    /// Told when it should be probed at once.
    pub(crate) nudge: Notify,
}

/// What a backend belongs to.
#[derive(Debug, Clone, Default)]
pub(crate) struct Home {
    pub(crate) name: Arc<str>,
    pub(crate) cluster: Weak<Cluster>,
    pub(crate) queue: Arc<Queue>,
}

impl Backend {
    /// Makes a backend that is tried although nothing is known about it.
    pub(crate) fn new(home: &Home, name: &str, options: &Options, now_ns: u64) -> Self {
        let condition = Condition::new(&options.limit, now_ns);
        let backend = Self {
            signals: Signals::new(now_ns),
            standing: AtomicU8::new(State::Unknown as u8),
            limit: AtomicU32::new(condition.limit.limit(&options.limit)),
            peak: AtomicU32::new(0),
            run: AtomicU32::new(0),
            connect_failures: AtomicU32::new(0),
            trial_good: AtomicU32::new(0),
            trial_slow: AtomicU32::new(0),
            requests: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            canceled: AtomicU64::new(0),
            latency_sum_ns: AtomicU64::new(0),
            generation: AtomicU64::new(0),
            load: AtomicU64::new(u64::MAX),
            rates: Rates::new(now_ns),
            histogram: WindowedHistogram::default(),
            number: NEXT_NUMBER.fetch_add(1, Relaxed),
            name: name.to_owned(),
            cluster: Arc::clone(&home.name),
            home: Weak::clone(&home.cluster),
            queue: Arc::clone(&home.queue),
            address: Mutex::new(None),
            condition: Mutex::new(condition),
            uptime: Mutex::new(Uptime::new(now_ns)),
            nudge: Notify::new(),
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

    /// Gives a number no other backend of the process has.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Gives the address requests go to; `None` while the name has none.
    pub fn address(&self) -> Option<SocketAddr> {
        *self.address.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives a number that changes with the address.
    pub fn generation(&self) -> u64 {
        self.generation.load(Relaxed)
    }

    /// Looks the name up; blocks while the resolver does, so it belongs on the probing thread. Tells whether
    /// the address changed.
    pub(crate) fn resolve(&self) -> bool {
        let found = match self.name.parse() {
            Ok(address) => Some(address),
            Err(_) => self.name.to_socket_addrs().ok().and_then(|mut found| found.next()),
        };
        let mut address = self.address.lock().unwrap_or_else(PoisonError::into_inner);
        // A resolver that fails for a moment takes no backend away.
        let has_changed = found.is_some() && *address != found;
        if has_changed {
            *address = found;
            self.generation.fetch_add(1, Relaxed);
        }
        has_changed
    }

    /// Gives where it stands.
    pub fn state(&self) -> State {
        State::from_number(self.standing.load(Relaxed))
    }

    /// Tells whether it was put out or is under suspicion, so that a request that waits for it should be sent
    /// elsewhere as well, if that is safe.
    pub fn is_lost(&self) -> bool {
        !self.signals.is_available()
    }

    /// Tells whether it may take one more request.
    pub fn has_place(&self) -> bool {
        self.signals.awaited() < self.limit.load(Relaxed)
    }

    /// Gives how many of those that wait may come at once.
    pub(crate) fn free_places(&self) -> u32 {
        if self.is_lost() || self.signals.weight() <= 0.0 {
            return 0;
        }
        self.limit.load(Relaxed).saturating_sub(self.signals.awaited()).min(AT_ONCE)
    }

    /// Counts a request in, if the backend is below its limit; dropping what it gives counts it out.
    pub fn try_begin(self: &Arc<Self>, now_ns: u64) -> Option<InFlight> {
        self.has_place().then(|| self.begin(now_ns))
    }

    /// Counts a request in, whatever the limit; dropping what it gives counts it out.
    pub fn begin(self: &Arc<Self>, now_ns: u64) -> InFlight {
        self.requests.fetch_add(1, Relaxed);
        let in_flight = self.signals.begin(now_ns);
        // Read first: a write to a line all threads share costs more than a look.
        let awaited = self.signals.awaited();
        if awaited > self.peak.load(Relaxed) {
            self.peak.fetch_max(awaited, Relaxed);
        }
        InFlight::new(Arc::clone(self), in_flight)
    }

    /// Notes that a request takes no place any more: its answer has begun, or its client is waited for.
    fn give_place(&self) {
        self.signals.note_head();
        if !self.queue.is_empty() && !self.is_lost() && self.has_place() {
            self.queue.tell_one();
        }
    }

    /// Takes in a response: its status, its latency if that is known, and the requests in flight when it was
    /// asked for.
    pub(crate) fn note_response(&self, status: u16, latency_ns: Option<u64>, in_flight: u32, now_ns: u64) {
        if let Some(latency_ns) = latency_ns {
            // A failure that comes fast must not make the backend look fast.
            if status < 500 || status == 501 {
                self.signals.note_answer(latency_ns, in_flight, now_ns);
            }
            self.histogram.record(latency_ns, now_ns);
            self.latency_sum_ns.fetch_add(latency_ns, Relaxed);
        }
        if self.connect_failures.load(Relaxed) != 0 {
            self.connect_failures.store(0, Relaxed);
        }
        // 501 says that the method is unknown, which is an answer like any other.
        if status >= 500 && status != 501 {
            self.fail(Class::ServerError, now_ns);
            return;
        }
        self.rates.record(Class::of(status), false, now_ns);
        if self.run.load(Relaxed) != 0 {
            self.run.store(0, Relaxed);
        }
        if self.standing.load(Relaxed) >= State::Trial as u8 {
            self.note_trial(latency_ns, now_ns);
        }
    }

    /// Takes in a good answer of a backend that is on trial or under suspicion.
    fn note_trial(&self, latency_ns: Option<u64>, now_ns: u64) {
        let Some(cluster) = self.home.upgrade() else { return };
        if self.state() == State::Trial {
            if latency_ns.is_some_and(|latency_ns| cluster.is_slow(latency_ns)) {
                self.trial_good.store(0, Relaxed);
                self.trial_slow.fetch_add(1, Relaxed);
            } else {
                self.trial_good.fetch_add(1, Relaxed);
            }
        }
        cluster.consider(self, now_ns);
    }

    /// Takes in a request that got no response.
    pub(crate) fn note_error(&self, now_ns: u64) {
        self.fail(Class::Error, now_ns);
    }

    /// Takes in a response that broke off after its head.
    pub(crate) fn note_broken(&self, now_ns: u64) {
        self.errors.fetch_add(1, Relaxed);
        self.rates.record_failure(now_ns);
        self.signals.note_failure(now_ns);
    }

    /// Takes in a connect that failed; several in a row put the backend out.
    ///
    /// It weighs nothing in the choice: it cost the request next to nothing, and after a restart one of them
    /// would keep the backend idle for half a minute. Nor is it a failure by which ejection judges: those that
    /// come to light as the backend returns would put it out again, for ten times as long. After the first it is probed at once: where there are few
    /// requests, the next would else be refused too.
    pub(crate) fn note_connect_failure(&self, now_ns: u64) {
        self.errors.fetch_add(1, Relaxed);
        self.rates.record(Class::Error, false, now_ns);
        self.note_refusal(now_ns);
        if !self.is_lost() {
            self.nudge.notify_one();
        }
    }

    /// Takes in that somebody listens.
    pub(crate) fn note_listening(&self) {
        self.connect_failures.store(0, Relaxed);
    }

    /// Takes in that requests fail as if nobody listened, here or elsewhere: a probe is to tell, and if it is
    /// refused that is enough.
    pub(crate) fn doubt(&self) {
        if !self.is_lost() {
            self.connect_failures.fetch_max(DEAD_AFTER - 1, Relaxed);
            self.nudge.notify_one();
        }
    }

    /// Takes in that a probe was refused, which is one refusal more where a request was refused before. Without
    /// that, probes count by themselves, up to `fall`.
    pub(crate) fn note_refused_probe(&self, now_ns: u64) {
        if self.connect_failures.load(Relaxed) > 0 {
            self.note_refusal(now_ns);
        }
    }

    fn note_refusal(&self, now_ns: u64) {
        if self.connect_failures.fetch_add(1, Relaxed) + 1 >= DEAD_AFTER
            && let Some(cluster) = self.home.upgrade()
        {
            cluster.note_dead(self, now_ns);
        }
    }

    /// Takes in a request that was given up without an answer after a time; that it took at least as long is
    /// all that is known.
    pub(crate) fn note_canceled(&self, elapsed_ns: u64, in_flight: u32, now_ns: u64) {
        self.canceled.fetch_add(1, Relaxed);
        self.signals.note_given_up(elapsed_ns, in_flight, now_ns);
    }

    /// Takes in what the backend tells of itself.
    pub fn note_load(&self, load: Load, now_ns: u64) {
        self.signals.note_load(load, now_ns);
        // Both in one number: microseconds above, requests below.
        let latency_us = (load.latency_ns / 1000).min(u64::from(u32::MAX) - 1);
        self.load.store(latency_us << 32 | u64::from(load.in_flight), Relaxed);
    }

    /// Takes in a probe's latency, of a backend that had no other requests.
    pub(crate) fn note_probe_latency(&self, latency_ns: u64, now_ns: u64) {
        self.signals.note_probe(latency_ns, now_ns);
    }

    fn fail(&self, class: Class, now_ns: u64) {
        self.signals.note_failure(now_ns);
        self.errors.fetch_add(1, Relaxed);
        self.rates.record(class, true, now_ns);
        self.run.fetch_add(1, Relaxed);
        if let Some(cluster) = self.home.upgrade() {
            cluster.consider(self, now_ns);
        }
    }

    /// Gives the requests sent to it.
    pub fn requests(&self) -> u64 {
        self.requests.load(Relaxed)
    }

    /// Gives what it may not do at the moment and why; hold it briefly.
    pub(crate) fn condition(&self) -> MutexGuard<'_, Condition> {
        self.condition.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn uptime(&self) -> MutexGuard<'_, Uptime> {
        self.uptime.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Candidate for Backend {
    fn signals(&self) -> &Signals {
        &self.signals
    }
}
