//! The lease book: who registered, at what weight, and until when. Pure: it is told the time.
//!
//! A backend registers for the length of a lease and renews it before the end; one that dies does not, and
//! is taken out when its lease runs out. One that leaves is out at once. A backend that is also configured,
//! or found by DNS, is remembered as having left, so that it gets no requests until it registers again.

use std::collections::BTreeMap;
use std::time::Duration;

use process::ConfigError;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

/// The section `[load_balancer.registration]`: what backends that register themselves may ask for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Backends that may be registered at a time.
    pub limit: usize,
    /// The shortest lease; shorter ones would end by a lost packet.
    #[serde(with = "process::duration")]
    pub shortest_lease: Duration,
    /// The longest lease: as long may a dead backend stay on the list.
    #[serde(with = "process::duration")]
    pub longest_lease: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self { limit: 1024, shortest_lease: Duration::from_secs(1), longest_lease: Duration::from_secs(300) }
    }
}

impl Config {
    /// Checks what serde cannot.
    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        let fault = |key: &str, message: &str| {
            Err(ConfigError::inconsistent(format!("load_balancer.registration.{key}"), message))
        };
        if self.shortest_lease.is_zero() {
            return fault("shortest_lease", "it must be longer than 0s");
        }
        if self.longest_lease < self.shortest_lease {
            return fault("longest_lease", "it is shorter than shortest_lease");
        }
        Ok(())
    }
}

/// A registration that holds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Lease {
    /// The weight the backend gave itself.
    pub(crate) weight: f64,
    /// How long a renewal holds.
    pub(crate) length: Duration,
    /// When it runs out.
    pub(crate) until: Instant,
}

/// Where a backend that registered once stands.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Registration {
    Leased(Lease),
    Left,
}

/// What a registration did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Registered {
    /// The backend was not registered before.
    New,
    /// Its lease holds longer; `changed` tells whether weight or length differ from before.
    Renewed {
        /// Whether there is more to it than time.
        changed: bool,
    },
}

/// There is no room for another registration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Full;

/// Every registration of one cluster, by name in one spelling.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Registry {
    backends: BTreeMap<String, Registration>,
}

impl Registry {
    /// Registers a backend or renews its lease.
    pub(crate) fn register(
        &mut self,
        name: &str,
        weight: f64,
        length: Duration,
        limit: usize,
        now: Instant,
    ) -> Result<Registered, Full> {
        let lease = Lease { weight, length, until: now + length };
        let is_full = self.backends.len() >= limit;
        match self.backends.get_mut(name) {
            Some(Registration::Leased(held)) => {
                let changed = held.weight != weight || held.length != length;
                *held = lease;
                Ok(Registered::Renewed { changed })
            }
            Some(registration) => {
                *registration = Registration::Leased(lease);
                Ok(Registered::New)
            }
            None if is_full => Err(Full),
            None => {
                self.backends.insert(name.to_owned(), Registration::Leased(lease));
                Ok(Registered::New)
            }
        }
    }

    /// Ends a registration; `is_known` tells whether another source names the backend too, which then must
    /// not bring it back. False when it was not registered.
    pub(crate) fn leave(&mut self, name: &str, is_known: bool) -> bool {
        match self.backends.get_mut(name) {
            Some(registration @ Registration::Leased(_)) if is_known => {
                *registration = Registration::Left;
                true
            }
            Some(Registration::Leased(_)) => self.backends.remove(name).is_some(),
            Some(Registration::Left) | None => false,
        }
    }

    /// Notes again that a backend left before a restart.
    pub(crate) fn restore_left(&mut self, name: String) {
        self.backends.insert(name, Registration::Left);
    }

    /// Takes out whose lease has run out and gives their names.
    pub(crate) fn expire(&mut self, now: Instant) -> Vec<String> {
        let is_over = |registration: &mut Registration| matches!(registration, Registration::Leased(l) if l.until <= now);
        self.backends.extract_if(.., |_, registration| is_over(registration)).map(|(name, _)| name).collect()
    }

    /// Gives when the next lease runs out.
    pub(crate) fn next_expiry(&self) -> Option<Instant> {
        self.leases().map(|(_, lease)| lease.until).min()
    }

    /// Forgets who left and is named by no other source any more; tells whether there was one.
    pub(crate) fn forget_left(&mut self, is_known: impl Fn(&str) -> bool) -> bool {
        let before = self.backends.len();
        self.backends
            .retain(|name, registration| matches!(registration, Registration::Leased(_)) || is_known(name));
        self.backends.len() != before
    }

    /// Gives the leases that hold, by name.
    pub(crate) fn leases(&self) -> impl Iterator<Item = (&str, &Lease)> {
        self.backends.iter().filter_map(|(name, registration)| match registration {
            Registration::Leased(lease) => Some((name.as_str(), lease)),
            Registration::Left => None,
        })
    }

    /// Gives the lease of a backend, if it has one.
    pub(crate) fn lease(&self, name: &str) -> Option<&Lease> {
        match self.backends.get(name) {
            Some(Registration::Leased(lease)) => Some(lease),
            Some(Registration::Left) | None => None,
        }
    }

    /// Gives who left and has not come back.
    pub(crate) fn left(&self) -> impl Iterator<Item = &str> {
        self.backends.keys().map(String::as_str).filter(|name| self.has_left(name))
    }

    /// Tells whether a backend left and has not come back.
    pub(crate) fn has_left(&self, name: &str) -> bool {
        matches!(self.backends.get(name), Some(Registration::Left))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    const LEASE: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn a_lease_holds_until_its_end_and_not_longer() {
        let mut registry = Registry::default();
        let start = Instant::now();
        assert_eq!(registry.register("a:1", 1.0, LEASE, 9, start), Ok(Registered::New));
        tokio::time::advance(LEASE - Duration::from_nanos(1)).await;
        assert!(registry.expire(Instant::now()).is_empty());
        assert_eq!(registry.next_expiry(), Some(start + LEASE));
        tokio::time::advance(Duration::from_nanos(1)).await;
        assert_eq!(registry.expire(Instant::now()), ["a:1"]);
        assert_eq!(registry.next_expiry(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_renewal_counts_from_its_own_time() {
        let mut registry = Registry::default();
        registry.register("a:1", 1.0, LEASE, 9, Instant::now()).unwrap();
        tokio::time::advance(LEASE / 2).await;
        let renewed = registry.register("a:1", 1.0, LEASE, 9, Instant::now());
        assert_eq!(renewed, Ok(Registered::Renewed { changed: false }));
        tokio::time::advance(LEASE - Duration::from_millis(1)).await;
        assert!(registry.expire(Instant::now()).is_empty());
    }

    #[test]
    fn a_full_book_takes_renewals_and_no_new_names() {
        let (mut registry, now) = (Registry::default(), Instant::now());
        registry.register("a:1", 1.0, LEASE, 1, now).unwrap();
        assert_eq!(registry.register("b:1", 1.0, LEASE, 1, now), Err(Full));
        assert!(registry.register("a:1", 2.0, LEASE, 1, now).is_ok());
    }

    #[test]
    fn who_left_is_remembered_while_another_source_names_it() {
        let (mut registry, now) = (Registry::default(), Instant::now());
        for name in ["configured:1", "alone:1"] {
            registry.register(name, 1.0, LEASE, 9, now).unwrap();
        }
        assert!(registry.leave("configured:1", true) && registry.leave("alone:1", false));
        assert!(registry.has_left("configured:1") && !registry.has_left("alone:1"));
        assert!(!registry.leave("configured:1", true), "nobody leaves twice");
        assert!(!registry.forget_left(|name| name == "configured:1"));
        assert!(registry.left().eq(["configured:1"]));
        assert!(registry.forget_left(|_| false));
        assert!(!registry.has_left("configured:1"));
    }

    #[derive(Debug, Clone)]
    enum Step {
        Register(u8, u64),
        Leave(u8),
        Wait(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..4_u8, 1..20_u64).prop_map(|(who, lease)| Step::Register(who, lease)),
            (0..4_u8).prop_map(Step::Leave),
            (0..15_u64).prop_map(Step::Wait),
        ]
    }

    proptest! {
        /// The model: a backend is in exactly while the last thing it did was to register less than its
        /// lease ago.
        #[test]
        fn a_backend_is_in_exactly_while_its_lease_holds(steps in prop::collection::vec(step(), 1..60)) {
            let (mut registry, mut now) = (Registry::default(), Instant::now());
            let mut model: BTreeMap<String, Instant> = BTreeMap::new();
            for step in steps {
                match step {
                    Step::Register(who, seconds) => {
                        let (name, lease) = (format!("b{who}:1"), Duration::from_secs(seconds));
                        registry.register(&name, 1.0, lease, 4, now).unwrap();
                        model.insert(name, now + lease);
                    }
                    Step::Leave(who) => {
                        let name = format!("b{who}:1");
                        prop_assert_eq!(registry.leave(&name, false), model.remove(&name).is_some());
                    }
                    Step::Wait(seconds) => now += Duration::from_secs(seconds),
                }
                let gone = registry.expire(now);
                prop_assert!(gone.iter().all(|name| model.get(name).is_some_and(|until| *until <= now)));
                model.retain(|_, until| *until > now);
                let held: Vec<&str> = registry.leases().map(|(name, _)| name).collect();
                prop_assert_eq!(held, model.keys().map(String::as_str).collect::<Vec<_>>());
                prop_assert_eq!(registry.next_expiry(), model.values().min().copied());
            }
        }
    }
}
