//! The membership of a cluster as it stands, and every way to change it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::merge::{Entry, Found, Override, merge};
use super::registry::{self, Full, Registered, Registry};
use super::saved::{Saved, SavedLease};
use super::source::{Listed, Source};
use super::{Config, read_sources};
use crate::admin::NameView;
use crate::{Cluster, Member};

/// Overrides that are kept; when there are more, those of backends that are not there go first.
const OVERRIDES: usize = 4096;

/// Who belongs to a cluster, by every source, and what was set at run time.
#[derive(Debug)]
pub(crate) struct Directory {
    cluster: Arc<Cluster>,
    /// Held from a change of the book until the cluster knows it, so that the cluster ends with the last.
    applying: Mutex<()>,
    book: Mutex<Book>,
    /// Tells the discovery task that sources or leases are others now.
    pub(super) changed: Notify,
    /// Grows with what is to be saved.
    revision: watch::Sender<u64>,
    /// Whether every name was looked up once, with whatever result.
    is_settled: watch::Sender<bool>,
}

#[derive(Debug)]
struct Book {
    config: Arc<Config>,
    registration: registry::Config,
    sources: Vec<Listed>,
    found: BTreeMap<Source, Vec<Found>>,
    registry: Registry,
    overrides: BTreeMap<String, Override>,
    entries: Vec<Entry>,
    revision: u64,
}

/// Why a backend was not registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refused {
    /// As many are registered as may be.
    Full(usize),
    /// The lease is shorter or longer than allowed.
    Lease(Duration, Duration),
}

/// What came of leaving.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leaving {
    /// It gets no new requests.
    Done,
    /// It was not registered, but another source names it.
    NotRegistered,
    /// Nobody names it.
    Unknown,
}

/// What a backend is by its sources, beside what the cluster knows of it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct MemberStanding {
    pub(crate) entry: Entry,
    pub(crate) set: Override,
    pub(crate) lease_left: Option<Duration>,
    /// Whether it registered once, left, and has not come back.
    pub(crate) has_left: bool,
}

impl Directory {
    /// Makes a directory, and by `make_cluster` the cluster of the members that are known without asking anybody.
    pub(super) fn new(
        config: &crate::Config,
        saved: Saved,
        now: Instant,
        make_cluster: impl FnOnce(Vec<Member>) -> Arc<Cluster>,
    ) -> Arc<Self> {
        let mut registry = Registry::default();
        for (name, SavedLease { weight, lease }) in saved.registrations {
            // What was held may be held again, whatever the limits are now.
            let _ = registry.register(&name, weight, lease, usize::MAX, now);
        }
        for name in saved.left {
            registry.restore_left(name);
        }
        let mut book = Book {
            config: Arc::new(config.discovery.clone()),
            registration: config.registration.clone(),
            sources: read_sources(&config.backends),
            found: BTreeMap::new(),
            registry,
            overrides: saved.overrides,
            entries: Vec::new(),
            revision: 0,
        };
        let members = book.settle().unwrap_or_default();
        Arc::new(Self {
            cluster: make_cluster(members),
            applying: Mutex::new(()),
            book: Mutex::new(book),
            changed: Notify::new(),
            revision: watch::Sender::new(0),
            is_settled: watch::Sender::new(false),
        })
    }

    /// Gives the cluster.
    pub(crate) fn cluster(&self) -> &Arc<Cluster> {
        &self.cluster
    }

    /// Takes in a new configuration: its `backends`, and how they are found.
    pub(crate) fn configure(&self, config: &crate::Config) {
        self.change(|book| {
            book.config = Arc::new(config.discovery.clone());
            book.registration = config.registration.clone();
            book.sources = read_sources(&config.backends);
            let sources = &book.sources;
            book.found.retain(|source, _| is_listed(sources, source));
        });
    }

    /// Registers a backend or renews its lease; `name` is in its one spelling.
    pub(crate) fn register(
        &self,
        name: &str,
        weight: f64,
        lease: Duration,
        now: Instant,
    ) -> Result<Registered, Refused> {
        self.change(|book| {
            let registry::Config { limit, shortest_lease, longest_lease } = book.registration;
            if lease < shortest_lease || lease > longest_lease {
                return Err(Refused::Lease(shortest_lease, longest_lease));
            }
            let registered = book.registry.register(name, weight, lease, limit, now);
            let registered = registered.map_err(|Full| Refused::Full(limit))?;
            if registered != (Registered::Renewed { changed: false }) {
                book.revision += 1;
            }
            Ok(registered)
        })
    }

    /// Ends a backend's registration: no new request goes to it from here on, also where it was set not to drain
    /// before; what is set after it holds.
    pub(crate) fn leave(&self, name: &str) -> Leaving {
        self.change(|book| {
            let is_known = book.is_known(name);
            if book.registry.leave(name, is_known) {
                book.set(name, |set| set.drain = set.drain.filter(|drain| *drain));
                book.revision += 1;
                Leaving::Done
            } else if is_known {
                Leaving::NotRegistered
            } else {
                Leaving::Unknown
            }
        })
    }

    /// Changes what is set for a backend; `None` when no source names it. Gives what is to be saved before
    /// the change is durable, for [`super::saved`].
    pub(crate) fn set(&self, name: &str, change: impl FnOnce(&mut Override)) -> Option<u64> {
        self.change(|book| {
            if !book.entries.iter().any(|entry| *entry.member.name == *name) {
                return None;
            }
            book.set(name, change);
            book.bound_overrides();
            Some(book.revision)
        })
    }

    /// Takes out whose lease has run out and gives their names.
    pub(super) fn expire(&self, now: Instant) -> Vec<String> {
        if self.next_expiry().is_none_or(|next| next > now) {
            return Vec::new();
        }
        self.change(|book| {
            let gone = book.registry.expire(now);
            book.revision += u64::from(!gone.is_empty());
            gone
        })
    }

    /// Takes in what DNS says an entry stands for.
    pub(super) fn set_found(&self, source: &Source, found: &[Found]) {
        let is_known = lock(&self.book).found.get(source).is_some_and(|known| known == found);
        if is_known {
            return;
        }
        self.change(|book| {
            if is_listed(&book.sources, source) {
                book.found.insert(source.clone(), found.to_vec());
            }
        });
    }

    /// Notes that every name was looked up once.
    pub(super) fn settle(&self) {
        self.is_settled.send_if_modified(|is_settled| !std::mem::replace(is_settled, true));
    }

    /// Waits until every name was looked up once, with whatever result.
    pub(super) async fn until_settled(&self) {
        // An error would mean that the sender is gone, which this very borrow excludes.
        let _ = self.is_settled.subscribe().wait_for(|is_settled| *is_settled).await;
    }

    /// Gives when the next lease runs out.
    pub(super) fn next_expiry(&self) -> Option<Instant> {
        lock(&self.book).registry.next_expiry()
    }

    /// Gives how backends are found, and the entries DNS is to be asked about.
    pub(super) fn questions(&self) -> (Arc<Config>, Vec<Source>) {
        let book = lock(&self.book);
        let sources = book.sources.iter().map(|listed| &listed.source);
        let of_dns = sources.filter(|source| !matches!(source, Source::Fixed(_)));
        (Arc::clone(&book.config), of_dns.cloned().collect())
    }

    /// Tells for how many backends each entry of DNS stands, in the order of the configuration.
    pub(crate) fn names(&self) -> Vec<NameView> {
        let book = lock(&self.book);
        let sources = book.sources.iter().map(|listed| &listed.source);
        let view = |source: &Source| NameView {
            source: source.to_string(),
            backends: book.found.get(source).map_or(0, Vec::len),
        };
        sources.filter(|source| !matches!(source, Source::Fixed(_))).map(view).collect()
    }

    /// Tells how each member stands by its sources, in their order.
    pub(crate) fn standings(&self, now: Instant) -> Vec<MemberStanding> {
        let book = lock(&self.book);
        let standing = |entry: &Entry| MemberStanding {
            entry: entry.clone(),
            set: book.overrides.get(&*entry.member.name).copied().unwrap_or_default(),
            lease_left: book
                .registry
                .lease(&entry.member.name)
                .map(|l| l.until.saturating_duration_since(now)),
            has_left: book.registry.has_left(&entry.member.name),
        };
        book.entries.iter().map(standing).collect()
    }

    /// Gives what is to be saved, and its revision.
    pub(crate) fn to_save(&self) -> (Saved, u64) {
        let book = lock(&self.book);
        let leases = book.registry.leases();
        let leases =
            leases.map(|(name, l)| (name.to_owned(), SavedLease { weight: l.weight, lease: l.length }));
        let left = book.registry.left().map(str::to_owned);
        (Saved::new(book.overrides.clone(), leases.collect(), left.collect()), book.revision)
    }

    /// Gives a view of the revision of what is to be saved.
    pub(crate) fn revisions(&self) -> watch::Receiver<u64> {
        self.revision.subscribe()
    }

    /// Changes the book and gives the cluster what follows; may look names up, and block as long.
    fn change<T>(&self, change: impl FnOnce(&mut Book) -> T) -> T {
        let _applying = lock(&self.applying);
        let (output, members, revision) = {
            let mut book = lock(&self.book);
            let output = change(&mut book);
            (output, book.settle(), book.revision)
        };
        if let Some(members) = members {
            self.cluster.apply(members);
        }
        self.revision.send_if_modified(|known| std::mem::replace(known, revision) != revision);
        self.changed.notify_one();
        output
    }
}

impl Book {
    /// Merges the sources anew; gives the members if they are others now.
    fn settle(&mut self) -> Option<Vec<Member>> {
        let (sources, found) = (&self.sources, &self.found);
        // Before DNS has answered for an entry, as after a restart, whom it names is not known.
        let is_answered =
            |listed: &Listed| matches!(listed.source, Source::Fixed(_)) || found.contains_key(&listed.source);
        if sources.iter().all(is_answered) {
            let has_forgotten = self.registry.forget_left(|name| is_known(sources, found, name));
            self.revision += u64::from(has_forgotten);
        }
        let entries = merge(sources, found, &self.registry, &self.overrides);
        let members = |entries: &[Entry]| entries.iter().map(|entry| entry.member.clone()).collect();
        let changed = entries != self.entries;
        self.entries = entries;
        changed.then(|| members(&self.entries))
    }

    /// Tells whether a source other than a registration names a backend.
    fn is_known(&self, name: &str) -> bool {
        is_known(&self.sources, &self.found, name)
    }

    /// Changes what is set for a backend.
    fn set(&mut self, name: &str, change: impl FnOnce(&mut Override)) {
        let mut set = self.overrides.get(name).copied().unwrap_or_default();
        let before = set;
        change(&mut set);
        if set != before {
            self.revision += 1;
        }
        match set.is_empty() {
            true => self.overrides.remove(name),
            false => self.overrides.insert(name.to_owned(), set),
        };
    }

    fn bound_overrides(&mut self) {
        if self.overrides.len() > OVERRIDES {
            let there: Vec<&str> = self.entries.iter().map(|entry| &*entry.member.name).collect();
            self.overrides.retain(|name, _| there.contains(&name.as_str()));
        }
    }
}

fn is_listed(sources: &[Listed], source: &Source) -> bool {
    sources.iter().any(|listed| listed.source == *source)
}

fn is_known(sources: &[Listed], found: &BTreeMap<Source, Vec<Found>>, name: &str) -> bool {
    sources.iter().any(|listed| match &listed.source {
        Source::Fixed(fixed) => fixed == name,
        of_dns => found.get(of_dns).is_some_and(|all| all.iter().any(|backend| backend.name == name)),
    })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
