//! Invalidations that did not reach the cache: made up for before the cache is believed about their keys.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The most keys remembered; beyond, only the time to live bounds how long a stale value is read.
const LIMIT: usize = 10_000;

/// Keys whose invalidation is not confirmed, each with the number of the attempt that postponed it last.
#[derive(Debug, Default)]
pub(super) struct Postponed {
    /// Read on every call, so that the map's lock is not.
    is_any: AtomicBool,
    keys: Mutex<(u64, HashMap<String, u64>)>,
}

impl Postponed {
    pub(super) fn is_any(&self) -> bool {
        self.is_any.load(Ordering::Acquire)
    }

    pub(super) fn contains(&self, key: &str) -> bool {
        self.is_any() && self.lock().1.contains_key(key)
    }

    /// Remembers keys; gives how many found no room.
    pub(super) fn add(&self, keys: &[String]) -> usize {
        let mut guard = self.lock();
        let (last, waiting) = &mut *guard;
        *last += 1;
        let mut forgotten = 0;
        for key in keys {
            if waiting.len() < LIMIT || waiting.contains_key(key) {
                waiting.insert(key.clone(), *last);
            } else {
                forgotten += 1;
            }
        }
        self.is_any.store(!waiting.is_empty(), Ordering::Release);
        forgotten
    }

    /// Gives the keys with the attempt each waits since.
    pub(super) fn list(&self) -> Vec<(String, u64)> {
        self.lock().1.iter().map(|(key, attempt)| (key.clone(), *attempt)).collect()
    }

    /// Forgets keys that were made up for, but those that were postponed again meanwhile.
    pub(super) fn settle(&self, done: &[(String, u64)]) {
        let mut guard = self.lock();
        for (key, attempt) in done {
            if guard.1.get(key) == Some(attempt) {
                guard.1.remove(key);
            }
        }
        self.is_any.store(!guard.1.is_empty(), Ordering::Release);
    }

    fn lock(&self) -> MutexGuard<'_, (u64, HashMap<String, u64>)> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_postponed_again_while_it_is_made_up_for_stays() {
        let postponed = Postponed::default();
        postponed.add(&["a".into(), "b".into()]);
        let list = postponed.list();
        postponed.add(&["a".into()]);
        postponed.settle(&list);
        assert!(postponed.contains("a") && !postponed.contains("b"));
        postponed.settle(&postponed.list());
        assert!(!postponed.is_any());
    }

    #[test]
    fn the_memory_of_postponed_keys_is_bounded() {
        let postponed = Postponed::default();
        let keys: Vec<String> = (0..LIMIT + 5).map(|key| key.to_string()).collect();
        assert_eq!(postponed.add(&keys), 5);
        assert_eq!(postponed.list().len(), LIMIT);
    }
}
