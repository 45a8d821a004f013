//! How requests ended within the last seconds, counted by class without a lock.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use serde::{Deserialize, Serialize};

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Class {
    /// An answer of 100 to 199; 101 ends a request.
    #[serde(rename = "1xx")]
    Informational,
    /// An answer of 200 to 299.
    #[serde(rename = "2xx")]
    Success,
    /// An answer of 300 to 399.
    #[serde(rename = "3xx")]
    Redirection,
    /// An answer of 400 to 499.
    #[serde(rename = "4xx")]
    ClientError,
    /// An answer of 500 to 599.
    #[serde(rename = "5xx")]
    ServerError,
    /// No answer, or one that broke off.
    Error,
}

impl Class {
    /// All classes, in the order they are counted.
    pub(crate) const ALL: [Self; 6] = [
        Self::Informational,
        Self::Success,
        Self::Redirection,
        Self::ClientError,
        Self::ServerError,
        Self::Error,
    ];

    /// Gives the class of a status.
    pub(crate) fn of(status: u16) -> Self {
        match status / 100 {
            0 | 1 => Self::Informational,
            2 => Self::Success,
            3 => Self::Redirection,
            4 => Self::ClientError,
            _ => Self::ServerError,
        }
    }

    /// Gives the word for figures.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Informational => "1xx",
            Self::Success => "2xx",
            Self::Redirection => "3xx",
            Self::ClientError => "4xx",
            Self::ServerError => "5xx",
            Self::Error => "error",
        }
    }
}

/// Rates look back at most so many whole seconds.
pub(crate) const SECONDS: u64 = 10;

/// One more, so that a whole window stands beside the second that is being counted.
const SLOTS: usize = SECONDS as usize + 1;

const SLOT_NS: u64 = 1_000_000_000;

/// How requests ended, by second and since the start.
#[derive(Debug)]
pub(crate) struct Rates {
    slots: [Slot; SLOTS],
    totals: [AtomicU64; 6],
    started_ns: u64,
}

#[derive(Debug, Default)]
struct Slot {
    /// Which second these counts are of.
    epoch: AtomicU64,
    counts: [AtomicU32; 6],
    failures: AtomicU32,
}

/// How requests ended within a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Tally {
    /// By class, in the order of [`Class::ALL`].
    pub(crate) classes: [u64; 6],
    /// Those that are held against the backend.
    pub(crate) failures: u64,
}

impl Tally {
    /// Gives how many ended.
    pub(crate) fn requests(&self) -> u64 {
        self.classes.iter().sum()
    }
}

impl Rates {
    pub(crate) fn new(now_ns: u64) -> Self {
        Self { slots: Default::default(), totals: Default::default(), started_ns: now_ns }
    }

    /// Counts an end.
    ///
    /// A thread that counts at the very moment a slot is taken over may lose its count there.
    pub(crate) fn record(&self, class: Class, is_failure: bool, now_ns: u64) {
        self.totals[class as usize].fetch_add(1, Relaxed);
        let slot = self.slot(now_ns);
        slot.counts[class as usize].fetch_add(1, Relaxed);
        if is_failure {
            slot.failures.fetch_add(1, Relaxed);
        }
    }

    /// Counts a failure of a request whose end was counted before, because its answer broke off.
    pub(crate) fn record_failure(&self, now_ns: u64) {
        self.slot(now_ns).failures.fetch_add(1, Relaxed);
    }

    fn slot(&self, now_ns: u64) -> &Slot {
        let epoch = now_ns / SLOT_NS;
        let slot = &self.slots[(epoch % SLOTS as u64) as usize];
        let found = slot.epoch.load(Relaxed);
        if found != epoch && slot.epoch.compare_exchange(found, epoch, Relaxed, Relaxed).is_ok() {
            for count in slot.counts.iter().chain([&slot.failures]) {
                count.store(0, Relaxed);
            }
        }
        slot
    }

    /// Gives how requests ended in the present second and the `seconds` before it, at most [`SECONDS`].
    pub(crate) fn tally(&self, seconds: u64, now_ns: u64) -> Tally {
        let oldest = (now_ns / SLOT_NS).saturating_sub(seconds.min(SECONDS));
        let mut tally = Tally::default();
        for slot in self.slots.iter().filter(|slot| slot.epoch.load(Relaxed) >= oldest) {
            for (sum, count) in tally.classes.iter_mut().zip(&slot.counts) {
                *sum += u64::from(count.load(Relaxed));
            }
            tally.failures += u64::from(slot.failures.load(Relaxed));
        }
        tally
    }

    /// Gives requests a second over the last [`SECONDS`].
    pub(crate) fn per_second(&self, now_ns: u64) -> f64 {
        let span_ns = (SECONDS * SLOT_NS + now_ns % SLOT_NS).min(now_ns.saturating_sub(self.started_ns));
        self.tally(SECONDS, now_ns).requests() as f64 / (span_ns.max(SLOT_NS) as f64 / SLOT_NS as f64)
    }

    /// Gives how requests ended since the start, by class.
    pub(crate) fn totals(&self) -> [u64; 6] {
        std::array::from_fn(|class| self.totals[class].load(Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_of_the_last_seconds() {
        let rates = Rates::new(1);
        for second in 1..=20 {
            rates.record(Class::of(200), false, second * SLOT_NS);
            rates.record(Class::of(503), true, second * SLOT_NS);
        }
        let now = 20 * SLOT_NS + SLOT_NS / 2;
        let tally = rates.tally(2, now);
        assert_eq!((tally.requests(), tally.failures), (6, 3));
        assert_eq!(rates.tally(60, now).requests(), 22, "never more than the window");
        assert!((rates.per_second(now) - 22.0 / 10.5).abs() < 0.01);
        assert_eq!(rates.tally(10, now + 30 * SLOT_NS), Tally::default());
        assert_eq!(rates.totals(), [0, 20, 0, 0, 20, 0]);
    }

    #[test]
    fn every_status_has_a_class() {
        let classes: Vec<&str> =
            [101, 204, 304, 404, 599, 0, 999].map(|status| Class::of(status).as_str()).to_vec();
        assert_eq!(classes, ["1xx", "2xx", "3xx", "4xx", "5xx", "1xx", "5xx"]);
    }
}
