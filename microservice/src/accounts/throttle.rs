//! Slowing down failed logins: pure, of what was tried and the time.
//!
//! Counted for a user name from one client, so that nobody locks another out, and, with a wider allowance
//! and a short longest wait, for the user name from anywhere, so that many clients gain little. Each
//! instance counts for itself.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// How many failures one client has free for one user name: a person's typing errors.
const FREE_PER_CLIENT: u32 = 5;

/// How many failures a user name has free from anywhere.
const FREE_PER_USER: u32 = 100;

/// The wait after the first failure that is not free; doubled with each further one.
const FIRST_WAIT: Duration = Duration::from_secs(1);

/// The longest wait of one client for one user name.
const LONGEST_PER_CLIENT: Duration = Duration::from_secs(15 * 60);

/// The longest wait of a user name from anywhere; short, because others can cause it.
const LONGEST_PER_USER: Duration = Duration::from_secs(10);

/// After how long without an attempt failures are forgotten; longer than any wait.
const FORGET_AFTER: Duration = Duration::from_secs(3600);

/// How many keys are kept; at about 150 bytes each, a few mebibytes.
const KEYS: usize = 20_000;

/// Who tries.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key {
    Client { username: String, client: String },
    User { username: String },
}

/// What is known of one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Failures {
    count: u32,
    last: Instant,
}

/// The failed logins of late.
#[derive(Debug, Default)]
pub(super) struct Throttle {
    failures: HashMap<Key, Failures>,
}

impl Throttle {
    /// Admits an attempt, counting it as failed until [`Throttle::succeed`] or [`Throttle::withdraw`] says
    /// otherwise, so that many at once are not all admitted; or says how long to wait.
    pub(super) fn admit(&mut self, username: &str, client: &str, now: Instant) -> Result<(), Duration> {
        let keys = keys(username, client);
        let wait = keys.iter().map(|key| self.wait(key, now)).max().unwrap_or_default();
        if !wait.is_zero() {
            return Err(wait);
        }
        self.make_room(now);
        for key in keys {
            let entry = self.failures.entry(key).or_insert(Failures { count: 0, last: now });
            let is_forgotten = now.saturating_duration_since(entry.last) >= FORGET_AFTER;
            let count = if is_forgotten { 0 } else { entry.count };
            *entry = Failures { count: count.saturating_add(1), last: now };
        }
        Ok(())
    }

    /// Notes that the admitted attempt was right: its client begins anew.
    pub(super) fn succeed(&mut self, username: &str, client: &str) {
        self.withdraw(username, client);
        let [client, _] = keys(username, client);
        self.failures.remove(&client);
    }

    /// Notes that the admitted attempt was neither right nor wrong.
    pub(super) fn withdraw(&mut self, username: &str, client: &str) {
        for key in keys(username, client) {
            if let Some(failures) = self.failures.get_mut(&key) {
                failures.count = failures.count.saturating_sub(1);
            }
        }
    }

    fn wait(&self, key: &Key, now: Instant) -> Duration {
        let Some(failures) = self.failures.get(key) else { return Duration::ZERO };
        let (free, longest) = match key {
            Key::Client { .. } => (FREE_PER_CLIENT, LONGEST_PER_CLIENT),
            Key::User { .. } => (FREE_PER_USER, LONGEST_PER_USER),
        };
        let passed = now.saturating_duration_since(failures.last);
        penalty(failures.count, free, longest).saturating_sub(passed)
    }

    /// Drops what is forgotten when the table is full, and all of it when nothing is: then the per-user
    /// count is lost too, which an attacker pays for with as many attempts as the table has keys.
    fn make_room(&mut self, now: Instant) {
        if self.failures.len() + 2 <= KEYS {
            return;
        }
        self.failures.retain(|_, failures| now.saturating_duration_since(failures.last) < FORGET_AFTER);
        if self.failures.len() + 2 > KEYS {
            self.failures.clear();
        }
    }
}

/// How long to wait after this many failures, from the last of them.
fn penalty(count: u32, free: u32, longest: Duration) -> Duration {
    if count < free {
        return Duration::ZERO;
    }
    let doublings = (count - free).min(30);
    FIRST_WAIT.saturating_mul(1 << doublings).min(longest)
}

fn keys(username: &str, client: &str) -> [Key; 2] {
    let username = username.to_owned();
    [Key::Client { username: username.clone(), client: client.to_owned() }, Key::User { username }]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn typing_errors_are_free_and_then_the_wait_doubles() {
        let (mut throttle, mut now) = (Throttle::default(), Instant::now());
        for _ in 0..FREE_PER_CLIENT {
            assert_eq!(throttle.admit("ada", "1.2.3.4", now), Ok(()));
        }
        for seconds in [1, 2, 4, 8] {
            let wait = Duration::from_secs(seconds);
            assert_eq!(throttle.admit("ada", "1.2.3.4", now), Err(wait));
            assert_eq!(throttle.admit("ada", "5.6.7.8", now), Ok(()), "another client is not slowed down");
            throttle.succeed("ada", "5.6.7.8");
            now += wait;
            assert_eq!(throttle.admit("ada", "1.2.3.4", now), Ok(()));
        }
    }

    #[test]
    fn a_success_begins_anew_and_an_hour_forgets() {
        let (mut throttle, now) = (Throttle::default(), Instant::now());
        for _ in 0..FREE_PER_CLIENT {
            throttle.admit("ada", "a", now).unwrap();
            throttle.admit("bob", "a", now).unwrap();
        }
        throttle.succeed("ada", "a");
        assert_eq!(throttle.admit("ada", "a", now), Ok(()));
        assert!(throttle.admit("bob", "a", now).is_err());
        let later = now + FORGET_AFTER;
        for _ in 0..FREE_PER_CLIENT {
            assert_eq!(throttle.admit("bob", "a", later), Ok(()));
        }
    }

    #[test]
    fn many_clients_together_are_slowed_down_a_little() {
        let (mut throttle, now) = (Throttle::default(), Instant::now());
        for client in 0..FREE_PER_USER {
            throttle.admit("ada", &client.to_string(), now).unwrap();
        }
        assert_eq!(throttle.admit("ada", "fresh", now), Err(FIRST_WAIT));
        assert_eq!(throttle.admit("bob", "fresh", now), Ok(()));
    }

    #[test]
    fn the_table_never_grows_beyond_its_bound() {
        let (mut throttle, now) = (Throttle::default(), Instant::now());
        for user in 0..KEYS {
            throttle.admit(&user.to_string(), "a", now).unwrap();
            assert!(throttle.failures.len() <= KEYS);
        }
    }

    proptest! {
        #[test]
        fn an_attempt_made_after_the_wait_is_admitted_and_no_sooner(failures in 0u32..40, early in 1u64..1000) {
            let (mut throttle, mut now) = (Throttle::default(), Instant::now());
            for _ in 0..failures {
                if let Err(wait) = throttle.admit("ada", "a", now) {
                    prop_assert!(wait <= LONGEST_PER_CLIENT);
                    let soon = now + wait.saturating_sub(Duration::from_millis(early));
                    prop_assert!(throttle.admit("ada", "a", soon).is_err());
                    now += wait;
                    prop_assert_eq!(throttle.admit("ada", "a", now), Ok(()));
                }
            }
        }
    }
}
