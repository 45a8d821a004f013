//! Rates of clients: the generic cell rate algorithm, and a bounded table of what each client has used.
//!
//! A client's whole state is one number, the theoretical arrival time (TAT) of ITU-T I.371: the time at
//! which its next request would arrive if it kept to its rate exactly. So the table is an array of pairs of
//! atomics, shared by a gateway's threads without a lock.

use std::hash::{BuildHasher, Hash, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::config::RateConfig;

/// Places a client's entry may have; the one quiet longest makes way (8 pairs are two cache lines).
const WAYS: usize = 8;

/// A rate in the algorithm's terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rate {
    /// Nanoseconds between two requests at the full rate.
    interval: u64,
    /// How far the TAT may run ahead of now, in nanoseconds.
    allowance: u64,
}

impl From<RateConfig> for Rate {
    fn from(config: RateConfig) -> Self {
        let interval = 1_000_000_000 / u64::from(config.per_second.max(1));
        let interval = interval.max(1);
        Self { interval, allowance: interval.saturating_mul(u64::from(config.burst.max(1))) }
    }
}

/// Decides about one request: the new TAT, or how long until one would be let through.
fn decide(tat: u64, now: u64, rate: Rate) -> Result<u64, Duration> {
    let next = tat.max(now).saturating_add(rate.interval);
    match next.saturating_sub(now).checked_sub(rate.allowance) {
        None | Some(0) => Ok(next),
        Some(ahead) => Err(Duration::from_nanos(ahead)),
    }
}

/// Who is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Client<'a> {
    /// A user with a token.
    Subject(&'a str),
    /// An address; of IPv6 its /64, because one host commands a whole /64.
    Address(IpAddr),
}

impl From<IpAddr> for Client<'_> {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::Address(address),
            IpAddr::V6(v6) => Self::Address(IpAddr::V6((v6.to_bits() >> 64 << 64).into())),
        }
    }
}

/// What each client has used of its rates.
#[derive(Debug)]
pub(crate) struct Limiter {
    slots: Box<[Slot]>,
    /// Keyed at random, so that nobody can choose clients that share a slot.
    hasher: RandomState,
    since: Instant,
}

/// One client under one rate. Two that hash to the same 64 bits would share a rate, which is harmless.
#[derive(Debug, Default)]
struct Slot {
    key: AtomicU64,
    tat: AtomicU64,
}

impl Limiter {
    /// Makes a table for about this many clients.
    pub(crate) fn new(clients: usize, now: Instant) -> Self {
        let sets = clients.div_ceil(WAYS).max(1);
        let slots = (0..sets * WAYS).map(|_| Slot::default()).collect();
        Self { slots, hasher: RandomState::new(), since: now }
    }

    /// Counts one request of a client under the rate `number`, or says how long it has to wait.
    ///
    /// A client whose entry another took over starts afresh: it may then use its burst again.
    pub(crate) fn charge(
        &self,
        number: u32,
        client: Client<'_>,
        rate: Rate,
        now: Instant,
    ) -> Result<(), Duration> {
        let now = u64::try_from(now.saturating_duration_since(self.since).as_nanos()).unwrap_or(u64::MAX);
        let slot = self.slot(self.hasher.hash_one((number, client)).max(1));
        let mut tat = slot.tat.load(Ordering::Relaxed);
        loop {
            let next = decide(tat, now, rate)?;
            match slot.tat.compare_exchange_weak(tat, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Ok(()),
                Err(present) => tat = present,
            }
        }
    }

    fn slot(&self, key: u64) -> &Slot {
        let sets = self.slots.len() / WAYS;
        let first = usize::try_from(key % sets as u64).unwrap_or(0) * WAYS;
        let set = &self.slots[first..first + WAYS];
        if let Some(slot) = set.iter().find(|slot| slot.key.load(Ordering::Relaxed) == key) {
            return slot;
        }
        let mut oldest = &set[0];
        for slot in set {
            if slot.tat.load(Ordering::Relaxed) < oldest.tat.load(Ordering::Relaxed) {
                oldest = slot;
            }
        }
        // Two threads that take over one entry at once cost one client its history, nothing more.
        oldest.key.store(key, Ordering::Relaxed);
        oldest.tat.store(0, Ordering::Relaxed);
        oldest
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn rate(per_second: u32, burst: u32) -> Rate {
        Rate::from(RateConfig { per_second, burst })
    }

    #[test]
    fn a_quiet_client_has_its_burst_and_then_its_rate() {
        let rate = rate(10, 3);
        let mut tat = 0;
        for _ in 0..3 {
            tat = decide(tat, SECOND, rate).unwrap();
        }
        assert_eq!(decide(tat, SECOND, rate), Err(Duration::from_millis(100)));
        assert!(decide(tat, SECOND + SECOND / 10, rate).is_ok());
    }

    #[test]
    fn a_refused_client_that_waits_as_told_gets_through() {
        let limiter = Limiter::new(16, Instant::now());
        let (client, start) = (Client::Subject("ada"), limiter.since);
        let rate = rate(7, 2);
        assert!(limiter.charge(0, client, rate, start).is_ok());
        assert!(limiter.charge(0, client, rate, start).is_ok());
        let wait = limiter.charge(0, client, rate, start).unwrap_err();
        assert!(limiter.charge(0, client, rate, start + wait).is_ok());
    }

    #[test]
    fn clients_and_rates_are_counted_apart() {
        let limiter = Limiter::new(1024, Instant::now());
        let (now, rate) = (limiter.since, rate(1, 1));
        let address = |text: &str| Client::from(text.parse::<IpAddr>().unwrap());
        assert!(limiter.charge(0, Client::Subject("ada"), rate, now).is_ok());
        assert!(limiter.charge(0, Client::Subject("bob"), rate, now).is_ok());
        assert!(limiter.charge(1, Client::Subject("ada"), rate, now).is_ok());
        assert!(limiter.charge(0, Client::Subject("ada"), rate, now).is_err());
        assert!(limiter.charge(0, address("2001:db8::1"), rate, now).is_ok());
        assert!(limiter.charge(0, address("2001:db8::2"), rate, now).is_err(), "the same /64");
    }

    #[test]
    fn visitors_push_each_other_out_and_not_a_client_that_used_its_burst() {
        let limiter = Limiter::new(WAYS, Instant::now());
        let busy = rate(1, 5);
        let mut now = limiter.since;
        (0..5).for_each(|_| limiter.charge(0, Client::Subject("busy"), busy, now).unwrap());
        for number in 1..500 {
            now += Duration::from_millis(1);
            limiter.charge(number, Client::Subject("visitor"), rate(1, 1), now).unwrap();
        }
        assert_eq!(limiter.slots.len(), WAYS);
        assert!(limiter.charge(0, Client::Subject("busy"), busy, now).is_err());
    }

    proptest! {
        /// Whatever the arrivals, no stretch of time holds more than the burst plus the rate times its length.
        #[test]
        fn no_stretch_of_time_holds_more_than_burst_and_rate_allow(
            gaps in proptest::collection::vec(0u64..SECOND, 1..200),
            per_second in 1u32..200,
            burst in 1u32..20,
        ) {
            let rate = rate(per_second, burst);
            let (mut now, mut tat, mut passed) = (0, 0, Vec::new());
            for gap in gaps {
                now += gap / 20;
                if let Ok(next) = decide(tat, now, rate) {
                    tat = next;
                    passed.push(now);
                }
            }
            for (first, start) in passed.iter().enumerate() {
                for (last, end) in passed.iter().enumerate().skip(first) {
                    let count = (last - first + 1) as u64;
                    let allowed = u64::from(burst) + (end - start) / rate.interval;
                    prop_assert!(count <= allowed, "{count} in {} ns", end - start);
                }
            }
        }

        /// A client that keeps to its rate is never refused.
        #[test]
        fn a_client_that_keeps_its_rate_is_never_refused(per_second in 1u32..1000, extra in proptest::collection::vec(0u64..1000, 1..100)) {
            let rate = rate(per_second, 1);
            let (mut now, mut tat) = (0, 0);
            for gap in extra {
                now += rate.interval + gap;
                tat = decide(tat, now, rate).unwrap();
            }
        }
    }
}
