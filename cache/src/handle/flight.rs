//! One load a key: callers who miss the same key at a time wait for the one who missed it first.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::Instant;

use super::tombstone::Tombstone;

/// What a miss is told by: the key, and what stood in its place.
pub(super) type MissOf = (String, Option<Tombstone>);

type Answer = watch::Receiver<Option<Bytes>>;

/// The loads in progress.
#[derive(Debug, Default)]
pub(super) struct Flights {
    under_way: Mutex<HashMap<MissOf, (Instant, Answer)>>,
    #[cfg(test)]
    joined: std::sync::atomic::AtomicUsize,
}

/// A caller's part in a load.
pub(super) enum Part {
    /// To load, and to hand the value over.
    Lead(Leader),
    /// To wait for the value.
    Follow(Answer),
}

/// The one who loads; when it is dropped the flight is over, with a value or without.
pub(super) struct Leader {
    flights: Arc<Flights>,
    miss: MissOf,
    missed_at: Instant,
    answer: watch::Sender<Option<Bytes>>,
}

impl Flights {
    /// Joins the load of the same miss, or starts one; a load whose miss is older than `bound` is not joined.
    pub(super) fn join(self: &Arc<Self>, miss: MissOf, missed_at: Instant, bound: Duration) -> Part {
        let mut under_way = self.lock();
        let (answer, receiver) = match under_way.entry(miss.clone()) {
            Entry::Occupied(found) if missed_at.saturating_duration_since(found.get().0) <= bound => {
                #[cfg(test)]
                self.joined.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                return Part::Follow(found.get().1.clone());
            }
            Entry::Occupied(mut old) => {
                let (answer, receiver) = watch::channel(None);
                old.insert((missed_at, receiver.clone()));
                (answer, receiver)
            }
            Entry::Vacant(place) => {
                let (answer, receiver) = watch::channel(None);
                place.insert((missed_at, receiver.clone()));
                (answer, receiver)
            }
        };
        drop(receiver);
        Part::Lead(Leader { flights: Arc::clone(self), miss, missed_at, answer })
    }

    /// Counts those who joined a load of another, ever.
    #[cfg(test)]
    pub(super) fn joined(&self) -> usize {
        self.joined.load(std::sync::atomic::Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<MissOf, (Instant, Answer)>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Leader {
    /// Hands the value to those who wait.
    pub(super) fn hand_over(&self, value: &Bytes) {
        self.answer.send_replace(Some(value.clone()));
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        let mut under_way = self.flights.lock();
        if under_way.get(&self.miss).is_some_and(|(missed_at, _)| *missed_at == self.missed_at) {
            under_way.remove(&self.miss);
        }
    }
}

/// Waits for the value; `None` when the one who loads gave up or failed.
pub(super) async fn follow(mut answer: Answer) -> Option<Bytes> {
    let value = answer.wait_for(Option::is_some).await.ok()?;
    value.clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUND: Duration = Duration::from_secs(2);

    fn miss(tombstone: Option<Tombstone>) -> MissOf {
        ("key".to_owned(), tombstone)
    }

    #[tokio::test]
    async fn those_who_miss_the_same_wait_for_one() {
        let flights = Arc::new(Flights::default());
        let now = Instant::now();
        let Part::Lead(leader) = flights.join(miss(None), now, BOUND) else { panic!("the first leads") };
        let Part::Follow(answer) = flights.join(miss(None), now, BOUND) else { panic!("the second follows") };
        let tombstone = Tombstone::new(&mut rand::rng());
        let other = flights.join(miss(Some(tombstone)), now, BOUND);
        assert!(matches!(other, Part::Lead(_)), "a miss after an invalidation is another one");
        leader.hand_over(&Bytes::from("value"));
        assert_eq!(follow(answer).await.unwrap(), "value");
        drop(leader);
        assert!(matches!(flights.join(miss(None), now, BOUND), Part::Lead(_)));
    }

    #[tokio::test]
    async fn a_leader_who_gives_up_leaves_nobody_waiting() {
        let flights = Arc::new(Flights::default());
        let Part::Lead(leader) = flights.join(miss(None), Instant::now(), BOUND) else {
            panic!("the first leads")
        };
        let Part::Follow(answer) = flights.join(miss(None), Instant::now(), BOUND) else { panic!("follows") };
        drop(leader);
        assert_eq!(follow(answer).await, None);
        assert!(flights.lock().is_empty());
    }

    #[tokio::test]
    async fn an_old_load_is_not_joined() {
        let flights = Arc::new(Flights::default());
        let then = Instant::now();
        let Part::Lead(old) = flights.join(miss(None), then, BOUND) else { panic!("the first leads") };
        let late = then + BOUND + Duration::from_millis(1);
        let Part::Lead(new) = flights.join(miss(None), late, BOUND) else { panic!("too old to join") };
        drop(old);
        assert!(
            matches!(flights.join(miss(None), late, BOUND), Part::Follow(_)),
            "the new one is still there"
        );
        drop(new);
    }
}
