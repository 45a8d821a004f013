//! The argument of the module's page as a model: readers and writers at any times, on the real store.
//!
//! Versions stand for values: a load sees the number of commits before it. Whatever happens, the cache never
//! holds a version older than one whose invalidation it has taken.

use proptest::prelude::*;

use super::*;
use crate::store::{Condition, Deadline, Store, Write};

/// A second less a millisecond: a fill must arrive before the tombstone's last moment.
const LONGEST_TRANSIT_MS: u64 = 999;

#[derive(Debug, Clone)]
enum Actor {
    /// Misses, loads, and sends a fill if it is not late; each number is the milliseconds to the next.
    Reader { misses_at: u64, load_after: u64, send_after: u64, transit: u64 },
    /// Commits, and its invalidation arrives.
    Writer { commits_at: u64, arrives_after: u64 },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Commit,
    Invalidate { version: u64 },
    Fill { version: u64 },
}

/// Times lie on a coarse grid, so that the narrow cases come up.
fn actor() -> impl Strategy<Value = Actor> {
    let start = || (0u64..8).prop_map(|place| place * 500);
    let pause = || prop::sample::select(vec![0, 1, 500, 1000, 1500, 2000, 2500]);
    let transit = prop::sample::select(vec![0, 500, LONGEST_TRANSIT_MS]);
    let reader =
        (start(), pause(), pause(), transit).prop_map(|(misses_at, load_after, send_after, transit)| {
            Actor::Reader { misses_at, load_after, send_after, transit }
        });
    let writer = (start(), prop::sample::select(vec![0, 1, 500, 3000]))
        .prop_map(|(commits_at, arrives_after)| Actor::Writer { commits_at, arrives_after });
    prop_oneof![3 => reader, 1 => writer]
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn the_cache_never_holds_a_value_older_than_an_invalidation_it_has_taken(
        actors in prop::collection::vec(actor(), 2..12),
    ) {
        let mut commits: Vec<u64> = actors
            .iter()
            .filter_map(|actor| match actor {
                Actor::Writer { commits_at, .. } => Some(*commits_at),
                Actor::Reader { .. } => None,
            })
            .collect();
        commits.sort_unstable();
        // A load in the very millisecond of a commit does not see it yet: the worst case.
        let seen_at = |moment: u64| commits.iter().filter(|commit| **commit < moment).count() as u64;
        let mut events: Vec<(u64, Event)> = Vec::new();
        for actor in &actors {
            match *actor {
                Actor::Writer { commits_at, arrives_after } => {
                    events.push((commits_at, Event::Commit));
                    events.push((commits_at + arrives_after, Event::Invalidate { version: seen_at(commits_at + 1) }));
                }
                Actor::Reader { misses_at, load_after, send_after, transit } => {
                    let sent_at = misses_at + load_after + send_after;
                    if sent_at - misses_at <= millis(FILL_BOUND) {
                        let version = seen_at(misses_at + load_after);
                        events.push((sent_at + transit, Event::Fill { version }));
                    }
                }
            }
        }
        events.sort_unstable();
        let store = Store::new(1 << 20, 1 << 10);
        let mut newest_invalidation = 0;
        for (now_ms, event) in events {
            match event {
                Event::Commit => {}
                Event::Invalidate { version } => {
                    let tombstone = Tombstone::new(&mut rand::rng()).write();
                    let deadline = Deadline::At(now_ms + millis(TOMBSTONE_LIFE));
                    store.set(b"key", Write::new(tombstone.into()).deadline(deadline), now_ms);
                    newest_invalidation = newest_invalidation.max(version);
                }
                Event::Fill { version } => {
                    let write = Write::new(version.to_string().into()).condition(Condition::Absent);
                    store.set(b"key", write.deadline(Deadline::At(now_ms + 10_000)), now_ms);
                }
            }
            let held = store.get(b"key", now_ms).filter(|value| Tombstone::read(value).is_none());
            if let Some(version) = held {
                let version: u64 = std::str::from_utf8(&version).unwrap().parse().unwrap();
                prop_assert!(version >= newest_invalidation, "{version} after {newest_invalidation} at {now_ms}");
            }
        }
    }
}
