//! Replicas: standbys that answer reads whose caller allows staleness.
//!
//! How fresh each is, is measured ([`freshness`], [`watch`]); one that is not fresh enough for a caller is not asked, and what
//! it does not answer well the primary answers. So a replica that is slow, gone, or has taken over costs no
//! caller an error, and what the answer lacks is never older than was allowed: each read also makes sure that the
//! replica still is what was measured ([`guard`]).

mod freshness;
pub(super) mod guard;
mod standing;
mod watch;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use tokio::time::Instant;

use self::freshness::Marks;
use self::guard::Guard;
use super::link::Link;
use super::readers::Readers;
use super::session::Server;
use crate::engine::OpenError;
use crate::{Config, Page, Query, Url, figures};

/// How long a replica may take over a question; the rest of the caller's time is for the primary.
const DEADLINE: Duration = Duration::from_millis(2500);

/// All replicas of a primary; often none.
#[derive(Debug)]
pub(super) struct Replicas {
    all: Vec<Replica>,
    /// How far behind one may be.
    lag: Duration,
    /// The primary, for its marks.
    primary: Link,
    marks: Mutex<Marks>,
    /// Who is looked at first, so that equals take turns.
    next: AtomicUsize,
}

/// One replica.
#[derive(Debug)]
struct Replica {
    /// Its host and port.
    name: String,
    readers: Readers,
    guard: Arc<Guard>,
    /// For measuring, so that no read holds it up.
    link: Link,
    /// As of when it has everything; none while it is not to be read.
    as_of: RwLock<Option<Instant>>,
    in_flight: AtomicUsize,
}

impl Replicas {
    /// Makes the configured replicas' places; they connect when they are used.
    pub(super) fn new(config: &Config, primary: &Server) -> Result<Self, OpenError> {
        let all = config.replicas.iter().map(|url| Replica::new(config, primary, url));
        let lag = config.replica_lag;
        Ok(Self {
            all: all.collect::<Result<_, _>>()?,
            lag,
            primary: Link::new(primary.clone(), watch::PRIMARY_STATEMENTS),
            marks: Mutex::new(Marks::new(lag + watch::pause(lag))),
            next: AtomicUsize::new(0),
        })
    }

    /// Has a replica answer that lacks nothing older than allowed; `None` when the primary is to answer.
    pub(super) async fn query(&self, namespace: &str, query: &Query, max_stale: Duration) -> Option<Page> {
        if max_stale.is_zero() || self.all.is_empty() || !query.bears_staleness() {
            return None;
        }
        let asked_at = Instant::now();
        let (replica, age) = self.choose(asked_at, max_stale.min(self.lag))?;
        match replica.query(namespace, query).await {
            Some(page) => {
                figures::count_read(&replica.name);
                let age_ms = age.as_nanos().div_ceil(1_000_000);
                Some(Page { age_ms: Some(u64::try_from(age_ms).unwrap_or(u64::MAX)), ..page })
            }
            None => {
                figures::REPLICA_FAILURES.with_label_values(&[&replica.name]).inc();
                None
            }
        }
    }

    /// Chooses the least busy of those that are fresh enough, and tells how far back it may be.
    fn choose(&self, now: Instant, bound: Duration) -> Option<(&Replica, Duration)> {
        let start = self.next.fetch_add(1, Ordering::Relaxed) % self.all.len();
        let (behind, first) = self.all.split_at(start);
        let fresh = first.iter().chain(behind).filter_map(|replica| {
            let age = now.duration_since(replica.as_of()?);
            (age <= bound).then_some((replica, age))
        });
        fresh.min_by_key(|(replica, _)| replica.in_flight.load(Ordering::Relaxed))
    }

    /// Refuses every further question.
    pub(super) fn stop(&self) {
        self.all.iter().for_each(|replica| replica.readers.stop());
    }
}

impl Replica {
    fn new(config: &Config, primary: &Server, url: &Url) -> Result<Self, OpenError> {
        let (Url::Postgres(secret), Some(place)) = (url, url.place()) else {
            let reason = format!("database.replicas: `{url}` is no PostgreSQL server");
            return Err(OpenError::Config { reason });
        };
        let server = primary.standby(secret.expose())?;
        let guard = Arc::new(Guard::default());
        Ok(Self {
            name: place.servers.join(","),
            readers: Readers::of_replica(&server, Arc::clone(&guard), config.readers, config.read_queue),
            guard,
            link: Link::new(server, watch::REPLICA_STATEMENTS),
            as_of: RwLock::new(None),
            in_flight: AtomicUsize::new(0),
        })
    }

    fn as_of(&self) -> Option<Instant> {
        *self.as_of.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, as_of: Option<Instant>) {
        *self.as_of.write().unwrap_or_else(PoisonError::into_inner) = as_of;
    }

    /// Asks it; whatever comes in between is the primary's to answer.
    async fn query(&self, namespace: &str, query: &Query) -> Option<Page> {
        let _in_flight = InFlight::begin(&self.in_flight);
        tokio::time::timeout(DEADLINE, self.readers.query(namespace, query)).await.ok()?.ok()
    }
}

/// A question counted as under way, until it is dropped.
struct InFlight<'a>(&'a AtomicUsize);

impl<'a> InFlight<'a> {
    fn begin(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
