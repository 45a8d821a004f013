//! The handle through which a role reads and invalidates: cache-aside, without stale sets. Where the cache is asked, over RESP
//! or in this process, makes no difference to what follows ([`link`]).
//!
//! A *stale set* is a value loaded before a write and stored after the write's invalidation; it would be
//! read until it expires. It cannot happen here, and the cache needs to know no more than `GET` and `SET`:
//!
//! - [`Cache::invalidate`] overwrites the key with a tombstone that lives [`TOMBSTONE_LIFE`].
//! - [`Cache::read`] takes a tombstone for a miss. A miss notes the time *before* the read was sent.
//! - [`Cache::fill`] stores with `NX`, only where nothing is, and not at all once [`FILL_BOUND`] has passed
//!   since the miss.
//!
//! Take a fill that arrives after the invalidation of a value loaded before it. Its miss was noted before
//! its load, so before the invalidation. It was sent at most `FILL_BOUND` after the miss, so at most
//! `FILL_BOUND` after the tombstone was put there, and arrives while the tombstone stands: `NX` refuses it. A
//! fill that arrives before the invalidation is overwritten by the tombstone.
//!
//! What this rests on:
//! - The value is loaded after the miss, by a read that sees what was committed before it.
//! - A fill reaches the cache within `TOMBSTONE_LIFE - FILL_BOUND` of being sent. When its answer does
//!   not come in time, it may still be under way: the key is then invalidated, and so a late one is overwritten.
//! - The cache drops no tombstone before its time. Ours keeps short-lived entries, see `store::eviction`; a Redis
//!   that evicts should have memory to spare. `FLUSHDB` and `DEL` by hand drop them.
//! - The cache could be reached. A key whose invalidation failed is remembered, is not believed by this
//!   process, and is invalidated when the cache answers again; other processes may read the old value until then,
//!   and if this process ends first, until the value's time to live is over.
//!
//! A caller of [`Cache::read_through`] joins another's load only if both saw the same thing in the key's place,
//! nothing or the same tombstone, within `FILL_BOUND`; so it never gets a value loaded before an
//! invalidation that it could know of.

mod claim;
mod flight;
mod gate;
mod link;
#[cfg(test)]
mod model;
mod postponed;
mod remote;
#[cfg(test)]
mod tests;
mod tombstone;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use process::ClusterToken;
use rand::Rng;
use tokio::time::Instant;

pub use self::claim::{Claim, Claimed};
use crate::config::Config;
use crate::figures::LIBRARY;
use crate::shared::SharedStore;
use flight::{Flights, Part};
use link::{Link, NoAnswer};
use postponed::Postponed;
use tombstone::Tombstone;

/// How long after its miss a value may be stored.
pub(crate) const FILL_BOUND: Duration = Duration::from_millis(2000);

/// How long a tombstone stands: a second longer than a fill may take to be sent.
pub(crate) const TOMBSTONE_LIFE: Duration = Duration::from_millis(3000);

/// How far a time to live is varied either way in percent, so that what was filled together does not
/// expire together.
const JITTER_PERCENT: u64 = 10;

/// The most tombstones sent together.
const TOMBSTONES_A_BATCH: usize = 500;

/// The shared cache as a role sees it; clones share one connection, if it takes one.
#[derive(Clone)]
pub struct Cache(Arc<Inner>);

struct Inner {
    link: Link,
    flights: Arc<Flights>,
    postponed: Postponed,
    /// Held by the one who makes up for postponed invalidations.
    making_up: tokio::sync::Mutex<()>,
}

/// What a read of the cache found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// The value.
    Hit(Bytes),
    /// Nothing, and the value may be stored through this ticket once it is loaded.
    Miss(Fill),
    /// The cache was not reached in time: load the value and store nothing.
    Unavailable,
}

/// The right to store one loaded value, unless the key was invalidated since the miss.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fill {
    key: String,
    missed_at: Instant,
    tombstone: Option<Tombstone>,
}

/// Where the value of [`Cache::read_through`] comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The cache held it.
    Hit,
    /// It was missed, loaded and offered to the cache.
    Miss,
    /// It was missed, and somebody else in this process was loading it already.
    Coalesced,
    /// The cache was not reached; it was loaded and not stored.
    Bypass,
}

impl Cache {
    /// Makes a handle; the connection is made by the first call and again whenever it is lost.
    pub fn connect(config: &Config, token: &ClusterToken) -> Self {
        Self::over(Link::to(config, token))
    }

    /// Makes a handle to the store of this process.
    pub fn local(store: &SharedStore) -> Self {
        Self::over(Link::Local(store.clone()))
    }

    /// Makes a handle without a cache: every read is [`Found::Unavailable`].
    pub fn disabled() -> Self {
        Self::over(Link::None)
    }

    fn over(link: Link) -> Self {
        Self(Arc::new(Inner {
            link,
            flights: Arc::default(),
            postponed: Postponed::default(),
            making_up: tokio::sync::Mutex::new(()),
        }))
    }

    /// Reads a key; a cache that is down or slow is no error, only [`Found::Unavailable`].
    pub async fn read(&self, key: &str) -> Found {
        let found = self.look_up(key).await;
        match &found {
            Found::Hit(_) => LIBRARY.hits.inc(),
            Found::Miss(_) => LIBRARY.misses.inc(),
            Found::Unavailable => LIBRARY.unavailable.inc(),
        }
        found
    }

    async fn look_up(&self, key: &str) -> Found {
        if self.0.postponed.is_any() {
            self.make_up().await;
            if self.0.postponed.contains(key) {
                return Found::Unavailable;
            }
        }
        // Before the read is sent: what counts is that no fill comes later than this plus the bound.
        let missed_at = Instant::now();
        let tombstone = match self.0.link.get(key).await {
            Ok(Some(value)) => match Tombstone::read(&value) {
                None => return Found::Hit(value),
                tombstone => tombstone,
            },
            Ok(None) => None,
            Err(NoAnswer) => return Found::Unavailable,
        };
        Found::Miss(Fill { key: key.to_owned(), missed_at, tombstone })
    }

    /// Stores a loaded value for `ttl` (jittered), unless the key was invalidated since the miss.
    pub async fn fill(&self, fill: Fill, value: Bytes, ttl: Duration) {
        if fill.missed_at.elapsed() > FILL_BOUND {
            LIBRARY.late.inc();
            return;
        }
        // A tombstone still stands where one was just seen; asking would cost a round trip and be refused.
        if fill.tombstone.is_some() || Tombstone::read(&value).is_some() || ttl.is_zero() {
            LIBRARY.refused.inc();
            return;
        }
        let ttl_ms = jitter_ms(ttl, &mut rand::rng());
        match self.0.link.set_absent(&fill.key, &value, ttl_ms).await {
            Ok(false) => LIBRARY.refused.inc(),
            // This process stood still meanwhile, perhaps for longer than a tombstone does.
            Ok(true) if fill.missed_at.elapsed() > TOMBSTONE_LIFE => self.bury(&[fill.key]).await,
            Ok(true) => LIBRARY.stored.inc(),
            Err(NoAnswer) => {
                LIBRARY.unconfirmed.inc();
                self.bury(&[fill.key]).await;
            }
        }
    }

    /// Invalidates keys: after it returns, no read returns a value that was loaded before it.
    ///
    /// Call it when the write is committed. If the cache is not reached the module's last assumption holds.
    pub async fn invalidate(&self, keys: &[String]) {
        if self.0.link.is_disabled() {
            return;
        }
        self.make_up().await;
        self.bury(keys).await;
    }

    /// Reads a key, or loads and stores it; of those in this process who miss it together, one loads.
    ///
    /// When the one who loads fails or is dropped, the next one loads for itself. A failed load is not stored.
    pub async fn read_through<E, F>(
        &self,
        key: &str,
        ttl: Duration,
        load: impl FnOnce() -> F,
    ) -> Result<(Bytes, Source), E>
    where
        F: Future<Output = Result<Bytes, E>>,
    {
        loop {
            let fill = match self.read(key).await {
                Found::Hit(value) => return Ok((value, Source::Hit)),
                Found::Unavailable => return Ok((load().await?, Source::Bypass)),
                Found::Miss(fill) => fill,
            };
            let miss = (fill.key.clone(), fill.tombstone);
            match self.0.flights.join(miss, fill.missed_at, FILL_BOUND) {
                Part::Lead(leader) => {
                    let value = load().await?;
                    leader.hand_over(&value);
                    // The flight ends after the fill, so that who comes in between need not load again.
                    self.fill(fill, value.clone(), ttl).await;
                    return Ok((value, Source::Miss));
                }
                Part::Follow(answer) => {
                    if let Some(value) = flight::follow(answer).await {
                        LIBRARY.coalesced.inc();
                        return Ok((value, Source::Coalesced));
                    }
                }
            }
        }
    }

    /// Puts tombstones in the place of keys, and remembers the keys where that fails.
    async fn bury(&self, keys: &[String]) {
        for batch in keys.chunks(TOMBSTONES_A_BATCH) {
            if self.send_tombstones(batch.iter().map(String::as_str)).await.is_ok() {
                LIBRARY.invalidated.inc_by(batch.len() as u64);
                continue;
            }
            let forgotten = self.0.postponed.add(batch);
            LIBRARY.postponed.inc_by((batch.len() - forgotten) as u64);
            LIBRARY.forgotten.inc_by(forgotten as u64);
            if forgotten > 0 {
                tracing::warn!(forgotten, "too many invalidations wait for the cache; some were forgotten");
            }
        }
    }

    /// Invalidates what could not be invalidated before; one caller at a time does it.
    async fn make_up(&self) {
        if !self.0.postponed.is_any() || !self.0.link.is_worth_trying() {
            return;
        }
        let Ok(_turn) = self.0.making_up.try_lock() else { return };
        for batch in self.0.postponed.list().chunks(TOMBSTONES_A_BATCH) {
            if self.send_tombstones(batch.iter().map(|(key, _)| key.as_str())).await.is_err() {
                return;
            }
            self.0.postponed.settle(batch);
            LIBRARY.invalidated.inc_by(batch.len() as u64);
        }
    }

    async fn send_tombstones(&self, keys: impl ExactSizeIterator<Item = &str>) -> Result<(), NoAnswer> {
        if keys.len() == 0 {
            return Ok(());
        }
        let life_ms = u64::try_from(TOMBSTONE_LIFE.as_millis()).unwrap_or(u64::MAX);
        let tombstones = keys.map(|key| (key, Tombstone::new(&mut rand::rng()).write()));
        self.0.link.set_all(tombstones, life_ms).await
    }
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").finish_non_exhaustive()
    }
}

fn jitter_ms(ttl: Duration, rng: &mut impl Rng) -> u64 {
    let ttl_ms = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX / 1000).clamp(1, u64::MAX / 1000);
    let spread = ttl_ms * JITTER_PERCENT / 100;
    rng.random_range(ttl_ms - spread..=ttl_ms + spread)
}
