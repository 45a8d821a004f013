//! Which idempotency keys are under way, so that a request that comes meanwhile is told at once (409,
//! `draft-ietf-httpapi-idempotency-key-header` §2.6) instead of waiting for the other's answer.
//!
//! Known exactly within a process. Between instances the shared cache knows, as long as it can be reached: a claim
//! ([`cache::Claim`]) for the time a request may take. What happens once is the database's to say in any case: a second
//! request that is not stopped here waits there and is answered as the first.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cache::{Cache, Claim, Claimed};

/// How long a claim stands that nobody gives up, because its process ended or its client left: longer than a
/// request takes that the database answers.
const CLAIM: Duration = Duration::from_secs(10);

/// The keys that are under way in this process.
#[derive(Debug, Default)]
pub(crate) struct InFlight(Mutex<HashSet<String>>);

/// One of them; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Flight {
    key: String,
    all: Arc<InFlight>,
    claimed: Option<Claimed>,
}

impl Flight {
    /// Begins one; `None` while another is under way with the same key.
    pub(super) async fn begin(all: &Arc<InFlight>, cache: &Cache, key: &str) -> Option<Self> {
        if !all.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key.to_owned()) {
            return None;
        }
        let mut flight = Self { key: key.to_owned(), all: Arc::clone(all), claimed: None };
        match cache.claim(key, CLAIM).await {
            Claim::Mine(claimed) => flight.claimed = Some(claimed),
            Claim::Taken => return None,
            Claim::Unknown => {}
        }
        Some(flight)
    }

    /// Ends one that did nothing, so that its key is free at once. One that did something needs no such word: from then
    /// on its key is answered.
    pub(super) async fn give_up(mut self, cache: &Cache) {
        if let Some(claimed) = self.claimed.take() {
            cache.give_up(claimed).await;
        }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.all.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_key_is_under_way_once_until_its_request_ends_also_without_a_cache() {
        let (all, cache) = (Arc::default(), Cache::disabled());
        let first = Flight::begin(&all, &cache, "k").await.unwrap();
        assert!(Flight::begin(&all, &cache, "k").await.is_none());
        assert!(Flight::begin(&all, &cache, "l").await.is_some());
        drop(first);
        let again = Flight::begin(&all, &cache, "k").await.unwrap();
        again.give_up(&cache).await;
        assert!(Flight::begin(&all, &cache, "k").await.is_some());
    }
}
