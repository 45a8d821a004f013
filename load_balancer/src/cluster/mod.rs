//! The backends of one name, shared by all threads: who they are, and which of them get requests.
//!
//! Membership changes while requests run: [`Cluster::apply`] takes a new list and keeps every backend whose
//! name stays, with its health, its estimates and what it works on. A thread looks at
//! [`Cluster::generation`], one atomic load, and asks for [`Cluster::members`] when it has changed.
//!
//! Whether a backend gets requests follows from several things: its probes, what requests saw of it, orders,
//! whether its name has an address. Each is a part of its `Condition`, which changes only under this cluster's
//! lock; [`Cluster::settle`] then draws the sum, for all at once, since a panic depends on how many are left.

mod admission;
mod figures;
mod members;
mod options;
mod standing;
#[cfg(test)]
mod tests;
mod threads;
mod upkeep;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{
    AtomicBool, AtomicU32, AtomicU64,
    Ordering::{Acquire, Release},
};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use arc_swap::ArcSwap;
use tokio::sync::Notify;

use crate::backend::Home;
use crate::clock::now_ns;
use crate::selection::Maglev;
use crate::{Backend, BackendReport, Policy};

pub use admission::Admission;
pub use figures::Counters;
pub use members::{Member, Members};
pub use options::{Link, Options, PANIC_THRESHOLD, SLOW_START, Secured};
pub(crate) use standing::Finding;
pub(crate) use threads::Thread;
pub(crate) use upkeep::{BUSY_PERIOD, IDLE_PERIOD, Upkeep};

/// The backends that answer for one name, and how one is chosen.
#[derive(Debug)]
pub struct Cluster {
    home: Home,
    options: ArcSwap<Options>,
    members: ArcSwap<Members>,
    generation: AtomicU64,
    roster: Mutex<Roster>,
    /// Requests in flight and waiting.
    total: AtomicU32,
    counters: Counters,
    is_panicking: AtomicBool,
    /// Since when no backend can be used; zero while one can.
    outage_ns: AtomicU64,
    /// What [`Cluster::hedge_delay`] gives; zero for none.
    hedge_delay_ns: AtomicU64,
    /// What nineteen of twenty answers took at most; zero while there are none.
    usual_ns: AtomicU64,
    /// From where on an answer is slow beside those of all others; as the bits of an `f64`.
    slow_from: AtomicU64,
    /// Whether one of the threads had more to do than it could, as of the last look.
    is_saturated: AtomicBool,
    /// Those that send requests.
    threads: Mutex<Vec<Weak<Thread>>>,
    /// Told when members or options change.
    pub(crate) changed: Notify,
}

/// What changes under the lock.
#[derive(Debug, Default)]
struct Roster {
    given: Vec<Member>,
    /// Members no longer, but still working on requests.
    leaving: Vec<Arc<Backend>>,
}

impl Cluster {
    /// Makes a cluster; names are looked up here, and again while probed.
    ///
    /// Its figures appear on `/metrics` under the name for as long as it lives. Backends are tried at once;
    /// give the cluster to [`health::probe`](crate::health::probe) to have them watched.
    pub fn new(
        name: impl Into<Arc<str>>,
        members: impl IntoIterator<Item = impl Into<Member>>,
        options: Options,
    ) -> Arc<Self> {
        let now = now_ns();
        let none = Members { generation: 0, backends: Box::default(), table: None };
        let cluster = Arc::new_cyclic(|home: &Weak<Self>| Self {
            home: Home { name: name.into(), cluster: Weak::clone(home), queue: Arc::default() },
            options: ArcSwap::from_pointee(options),
            members: ArcSwap::from_pointee(none),
            generation: AtomicU64::new(0),
            roster: Mutex::default(),
            total: AtomicU32::new(0),
            counters: Counters::default(),
            is_panicking: AtomicBool::new(false),
            outage_ns: AtomicU64::new(0),
            hedge_delay_ns: AtomicU64::new(0),
            usual_ns: AtomicU64::new(0),
            slow_from: AtomicU64::new(f64::INFINITY.to_bits()),
            is_saturated: AtomicBool::new(false),
            threads: Mutex::default(),
            changed: Notify::new(),
        });
        let members: Vec<Member> = members.into_iter().map(Into::into).collect();
        // What is there from the start need not start slowly: nobody else has its requests.
        cluster.admit_members(members, true, now);
        crate::figures::show(&cluster);
        cluster
    }

    /// Gives its name.
    pub fn name(&self) -> &str {
        &self.home.name
    }

    /// Gives how it chooses and guards.
    pub fn options(&self) -> Arc<Options> {
        self.options.load_full()
    }

    /// Gives how a backend is chosen.
    pub fn policy(&self) -> Policy {
        self.options.load().policy.clone()
    }

    /// Gives a number that grows with every change of members or options; one atomic load.
    pub fn generation(&self) -> u64 {
        self.generation.load(Acquire)
    }

    /// Gives the present members.
    pub fn members(&self) -> Arc<Members> {
        self.members.load_full()
    }

    /// Gives what is counted for the cluster as a whole.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Makes these the members. Backends whose names stay stay as they are; those whose names are gone get no
    /// new requests, end what they work on, and are forgotten.
    pub fn apply(&self, members: Vec<Member>) {
        self.admit_members(members, false, now_ns());
    }

    /// Chooses and guards differently from now on; what is known of backends stays.
    pub fn replace_options(&self, options: Options) {
        let mut roster = self.roster();
        self.options.store(Arc::new(options));
        self.publish(&mut roster, &[], now_ns());
    }

    /// Tells what is known about each backend, and about those that still end what they work on.
    pub fn report(&self) -> Vec<BackendReport> {
        let leaving: Vec<_> = self.roster().leaving.clone();
        let members = self.members.load();
        members.backends.iter().chain(&leaving).map(|backend| backend.report()).collect()
    }

    /// Takes in that a name has another address.
    pub(crate) fn note_resolved(&self) {
        self.settle(&self.roster(), now_ns());
    }

    fn admit_members(&self, members: Vec<Member>, are_first: bool, now_ns: u64) {
        let mut given: Vec<Member> = Vec::with_capacity(members.len());
        let mut seen = HashSet::new();
        for member in members {
            if seen.insert(member.name.clone()) {
                given.push(member);
            }
        }
        // Made before the lock is taken, because a name is looked up with it.
        let (options, present) = (self.options.load(), self.members.load());
        let known: HashSet<&str> = present.backends.iter().map(|backend| backend.name()).collect();
        let new = given.iter().filter(|member| !known.contains(member.name.as_str())).map(|member| {
            let backend = Backend::new(&self.home, &member.name, &options, now_ns);
            backend.condition().was_full = are_first;
            Arc::new(backend)
        });
        let new: Vec<Arc<Backend>> = new.collect();
        let mut roster = self.roster();
        if given != roster.given || are_first {
            roster.given = given;
            self.publish(&mut roster, &new, now_ns);
        }
    }

    /// Makes members of what was given and ordered, and tells everybody.
    fn publish(&self, roster: &mut Roster, new: &[Arc<Backend>], now_ns: u64) {
        let options = self.options.load();
        let old = self.members.load();
        let had = roster.leaving.iter().chain(&old.backends);
        // The old one of a name comes last, and stays.
        let mut known: HashMap<&str, &Arc<Backend>> =
            new.iter().chain(had).map(|backend| (backend.name(), backend)).collect();
        let mut backends = Vec::with_capacity(roster.given.len());
        for member in &roster.given {
            let Some(backend) = known.remove(member.name.as_str()) else { continue };
            let mut condition = backend.condition();
            condition.weight = member.sound_weight();
            condition.drain = member.drain;
            condition.rank = member.rank;
            condition.is_removed = false;
            backends.push(Arc::clone(backend));
        }
        let leaving: Vec<Arc<Backend>> = known.into_values().cloned().collect();
        for backend in &leaving {
            backend.condition().is_removed = true;
        }
        let is_wanted = |backend: &Arc<Backend>| {
            let condition = backend.condition();
            if condition.is_wanted() { condition.weight } else { 0.0 }
        };
        let table = options
            .policy
            .hashes()
            .then(|| Maglev::new(backends.iter().map(|backend| (backend.name(), is_wanted(backend)))));
        let (backends, generation) = (backends.into_boxed_slice(), old.generation + 1);
        roster.leaving = leaving;
        self.members.store(Arc::new(Members { generation, backends, table }));
        self.generation.store(generation, Release);
        self.settle(roster, now_ns);
        self.changed.notify_one();
    }

    fn roster(&self) -> MutexGuard<'_, Roster> {
        self.roster.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
