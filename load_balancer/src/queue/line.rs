//! Whose turn it is: who waits, who was told of a place, and until when each waits. Pure; told the time.
//!
//! First come, first served, until the oldest has used up half its time: then the queue cannot be emptied in
//! time, whoever waits longest will give up anyway, and the newest goes first (Maurer, "Fail at Scale", ACM
//! Queue 13(8), 2015: adaptive LIFO).

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

/// Those who wait, by the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Line {
    waiting: BTreeMap<u64, Wait>,
    /// Told of a place, and not yet known whether they found one.
    told: BTreeMap<u64, Wait>,
    next: u64,
}

/// One who waits.
#[derive(Debug, Clone, Copy)]
struct Wait {
    since: Instant,
    until: Instant,
    /// No extension goes beyond it.
    latest: Instant,
}

/// Where one stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// Nobody has told it of a place.
    Waits { until: Instant },
    /// There may be a place for it.
    Told,
}

impl Line {
    /// Takes one in who waits from now until then, and not beyond the latest; gives its number.
    pub(super) fn join(&mut self, now: Instant, until: Instant, latest: Instant) -> u64 {
        let number = self.next;
        self.next += 1;
        self.waiting.insert(number, Wait { since: now, until, latest });
        number
    }

    /// Gives how many there are.
    pub(super) fn len(&self) -> usize {
        self.waiting.len() + self.told.len()
    }

    /// Gives how many were told and have neither left nor begun to wait again.
    pub(super) fn told(&self) -> usize {
        self.told.len()
    }

    /// Tells the one whose turn it is, if anybody waits.
    pub(super) fn tell_next(&mut self, now: Instant) -> Option<u64> {
        let (_, oldest) = self.waiting.first_key_value()?;
        let is_late = now.duration_since(oldest.since) > oldest.until.duration_since(oldest.since) / 2;
        let next = if is_late { self.waiting.pop_last() } else { self.waiting.pop_first() };
        let (number, wait) = next?;
        self.told.insert(number, wait);
        Some(number)
    }

    /// Has one wait again that was told and found nothing; it keeps its turn.
    pub(super) fn wait_again(&mut self, number: u64) {
        if let Some(wait) = self.told.remove(&number) {
            self.waiting.insert(number, wait);
        }
    }

    /// Tells where one stands.
    pub(super) fn turn_of(&self, number: u64) -> Turn {
        // Who is in neither list has left, and waits for nothing.
        self.waiting.get(&number).map_or(Turn::Told, |wait| Turn::Waits { until: wait.until })
    }

    /// Lets one go; tells whether it was told of a place.
    pub(super) fn leave(&mut self, number: u64) -> bool {
        self.waiting.remove(&number);
        self.told.remove(&number).is_some()
    }

    /// Begins the wait of everybody anew: for at least so long, and never less long than before.
    pub(super) fn extend(&mut self, now: Instant, wait: Duration) {
        for one in self.waiting.values_mut().chain(self.told.values_mut()) {
            one.since = now;
            one.until = one.until.max((now + wait).min(one.latest));
        }
    }
}
