//! Consistent hashing with bounded loads (Mirrokni, Thorup, Zadimoghaddam: "Consistent Hashing with Bounded Loads",
//! SODA'18, arXiv 1608.01350; HAProxy's `hash-balance-factor`).
//!
//! A key that everybody asks for would otherwise bury its backend while others idle. No backend is given a request
//! that would make it have more than a factor of its part of all requests in flight; the key then goes where it is
//! hashed to next, and comes back as soon as there is room.

use super::{Candidate, Snapshot};

/// Gives the backend a key belongs to, unless that has too much to do; `None` when the request has no key, or no
/// backend for it was found.
pub(super) fn hashed<B: Candidate>(snapshot: &Snapshot<'_, B>, now_ns: u64) -> Option<usize> {
    let first = snapshot.hashed(|_| true)?;
    let Some(factor) = snapshot.balance_factor else { return Some(first) };
    let (mut in_flight, mut shares) = (0.0, 0.0);
    for index in snapshot.eligible() {
        let signals = snapshot.backends[index].signals();
        in_flight += f64::from(signals.in_flight());
        shares += signals.share(now_ns);
    }
    let has_room = |index: usize| {
        let signals = snapshot.backends[index].signals();
        // With this request, and rounded up, so that all together always have room for one more (§1).
        let bound = (factor * (in_flight + 1.0) * signals.share(now_ns) / shares).ceil();
        f64::from(signals.in_flight()) + 1.0 <= bound
    };
    if has_room(first) {
        return Some(first);
    }
    // Should the hashes not find the few that have room, any of them is better than one that has not.
    let next = snapshot.hashed(has_room).or_else(|| snapshot.eligible().find(|index| has_room(*index)));
    Some(next.unwrap_or(first))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    use super::super::{Maglev, Memory, Policy, Signals, choose_backend, hash_key};
    use super::*;

    /// Chooses for a key among backends, by a table over all of them.
    fn choose(backends: &[Signals], table: &Maglev, key: u64, balance_factor: Option<f64>) -> usize {
        let memory = Memory::default();
        let plain = Snapshot::plain(backends, &Policy::IpHash, &memory);
        let snapshot = Snapshot { key: Some(key), table: Some(table), balance_factor, ..plain };
        choose_backend(&snapshot, 1, &mut SmallRng::seed_from_u64(1)).unwrap().index
    }

    fn fleet(weights: &[f64], in_flight: &[u32]) -> (Vec<Signals>, Maglev) {
        let names: Vec<String> = (0..weights.len()).map(|n| format!("10.0.0.{n}:80")).collect();
        let table = Maglev::new(names.iter().map(String::as_str).zip(weights.iter().copied()));
        let backends = weights.iter().zip(in_flight).map(|(weight, in_flight)| {
            let signals = Signals::new(1);
            signals.set_weight(*weight);
            for _ in 0..*in_flight {
                signals.begin(1);
            }
            signals
        });
        (backends.collect(), table)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_key_leaves_its_backend_only_while_that_is_above_the_bound(
            fleet_of in proptest::collection::vec((1..4_u8, 0..40_u32), 1..9),
            keys in proptest::collection::vec(any::<u64>(), 20),
            factor in 1.05..3.0_f64,
        ) {
            let weights: Vec<f64> = fleet_of.iter().map(|(weight, _)| f64::from(*weight)).collect();
            let loads: Vec<u32> = fleet_of.iter().map(|(_, in_flight)| *in_flight).collect();
            let (backends, table) = fleet(&weights, &loads);
            let all = f64::from(loads.iter().sum::<u32>()) + 1.0;
            let fits = |index: usize| {
                let bound = (factor * all * weights[index] / weights.iter().sum::<f64>()).ceil();
                f64::from(loads[index]) + 1.0 <= bound
            };
            for key in keys {
                let (first, chosen) =
                    (choose(&backends, &table, key, None), choose(&backends, &table, key, Some(factor)));
                prop_assert!(fits(chosen), "there is always one with room");
                prop_assert_eq!(chosen == first, fits(first), "it is at home exactly while there is room");
            }
        }
    }

    #[test]
    fn one_key_that_everybody_asks_for_is_spread_and_comes_home() {
        let (backends, table) = fleet(&[1.0; 5], &[0; 5]);
        let (hot, factor) = (hash_key(b"hot"), Some(1.25));
        let home = choose(&backends, &table, hot, None);
        for _ in 0..100 {
            backends[choose(&backends, &table, hot, factor)].begin(1);
        }
        let loads: Vec<u32> = backends.iter().map(Signals::in_flight).collect();
        assert!(
            loads.iter().all(|load| *load <= 25),
            "a quarter more than a fifth of 100 at most: {loads:?}"
        );
        assert_eq!(loads[home], 25, "the key's own backend has all it may: {loads:?}");
        (0..25).for_each(|_| backends[home].end());
        assert_eq!(choose(&backends, &table, hot, factor), home);
    }
}
