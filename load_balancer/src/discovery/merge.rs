//! Who belongs to the cluster: every source and what was set at run time, made into one list. Pure.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use super::registry::Registry;
use super::source::{Listed, Source};
use crate::Member;

/// What was set for a backend at run time; what is not set here, its sources say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Override {
    /// Its weight.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) weight: Option<f64>,
    /// Whether it is sent no new requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) drain: Option<bool>,
}

impl Override {
    /// Tells whether it sets nothing.
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A backend DNS gave.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Found {
    /// `address:port`.
    pub(crate) name: String,
    /// Its weight beside others of its entry.
    pub(crate) weight: f64,
    /// Which of the entry's priorities it has, counted from the most wanted.
    pub(crate) rank: u16,
}

/// A member and who named it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    /// What the cluster is told.
    pub(crate) member: Member,
    /// Its sources, in the order they were heard: entries of `backends`, then `registered`.
    pub(crate) sources: Vec<String>,
}

/// What a backend that registered itself has as its source.
const REGISTERED: &str = "registered";

/// Makes the list of members.
///
/// The order is that of `backends`, the addresses of a DNS name sorted in its place, then those that only
/// registered by name; so a list that gains one keeps the order of the others. A backend named twice is
/// there once, where it was named first. Its weight is the one set at run time, else the one it registered
/// with, else that of the source that named it first: the file's, or that of its record. It drains when it was
/// set so, else when it has left.
pub(crate) fn merge(
    sources: &[Listed],
    found: &BTreeMap<Source, Vec<Found>>,
    registry: &Registry,
    overrides: &BTreeMap<String, Override>,
) -> Vec<Entry> {
    let mut list = List::default();
    for Listed { source, weight } in sources {
        match source {
            Source::Fixed(name) => list.add(name, *weight, 0, "config"),
            Source::Name { .. } | Source::Service { .. } => {
                let label = source.to_string();
                for backend in found.get(source).into_iter().flatten() {
                    list.add(&backend.name, backend.weight * weight, backend.rank, &label);
                }
            }
        }
    }
    for (name, lease) in registry.leases() {
        list.add(name, lease.weight, 0, REGISTERED);
    }
    let mut entries = list.entries;
    for Entry { member, .. } in &mut entries {
        let own = registry.lease(&member.name).map(|lease| lease.weight);
        let set = overrides.get(&*member.name).copied().unwrap_or_default();
        member.weight = set.weight.or(own).unwrap_or(member.weight);
        member.drain = set.drain.unwrap_or_else(|| registry.has_left(&member.name));
    }
    entries
}

#[derive(Default)]
struct List {
    entries: Vec<Entry>,
    places: HashMap<String, usize>,
}

impl List {
    fn add(&mut self, name: &str, weight: f64, rank: u16, source: &str) {
        if let Some(place) = self.places.get(name) {
            let sources = &mut self.entries[*place].sources;
            if !sources.iter().any(|known| known == source) {
                sources.push(source.to_owned());
            }
            return;
        }
        self.places.insert(name.to_owned(), self.entries.len());
        let member = Member { name: name.to_owned(), weight, drain: false, rank };
        self.entries.push(Entry { member, sources: vec![source.to_owned()] });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use tokio::time::Instant;

    use super::*;

    fn name_source() -> Source {
        Source::Name { host: "gateways".to_owned(), port: 5000 }
    }

    fn fixed(name: &str) -> Listed {
        listed(Source::Fixed(name.to_owned()), 1.0)
    }

    fn listed(source: Source, weight: f64) -> Listed {
        Listed { source, weight }
    }

    fn found(name: &str, weight: f64) -> Found {
        Found { name: name.to_owned(), weight, rank: 0 }
    }

    fn registered(names: &[(&str, f64)]) -> Registry {
        let mut registry = Registry::default();
        for (name, weight) in names {
            registry.register(name, *weight, Duration::from_secs(1), 99, Instant::now()).unwrap();
        }
        registry
    }

    fn names(entries: &[Entry]) -> Vec<&str> {
        entries.iter().map(|entry| &*entry.member.name).collect()
    }

    #[test]
    fn a_backend_of_three_sources_is_one_where_it_was_named_first() {
        let sources = [fixed("b:1"), listed(name_source(), 1.0), fixed("a:1")];
        let answers = BTreeMap::from([(name_source(), vec![found("a:1", 3.0), found("c:1", 2.0)])]);
        let registry = registered(&[("a:1", 0.5), ("z:1", 1.0)]);
        let entries = merge(&sources, &answers, &registry, &BTreeMap::new());
        assert_eq!(names(&entries), ["b:1", "a:1", "c:1", "z:1"]);
        assert_eq!(entries[1].sources, ["dns://gateways:5000", "config", "registered"]);
        let weights: Vec<f64> = entries.iter().map(|entry| entry.member.weight).collect();
        assert_eq!(weights, [1.0, 0.5, 2.0, 1.0], "what a backend says of itself beats DNS");
    }

    #[test]
    fn what_was_set_at_run_time_lies_on_top_of_every_source() {
        let overrides = BTreeMap::from([
            ("a:1".to_owned(), Override { weight: Some(4.0), drain: None }),
            ("z:1".to_owned(), Override { weight: None, drain: Some(true) }),
            ("gone:1".to_owned(), Override { weight: Some(9.0), drain: None }),
        ]);
        let registry = registered(&[("z:1", 0.5)]);
        let entries = merge(&[fixed("a:1")], &BTreeMap::new(), &registry, &overrides);
        let members: Vec<_> = entries.iter().map(|e| (e.member.weight, e.member.drain)).collect();
        assert_eq!(members, [(4.0, false), (0.5, true)], "an override alone makes no member");
    }

    #[test]
    fn a_weight_of_the_file_holds_until_the_backend_or_the_operator_says_another() {
        let listed_ones = [listed(Source::Fixed("a:1".to_owned()), 3.0), listed(name_source(), 0.5)];
        let answers = BTreeMap::from([(name_source(), vec![found("b:1", 1.0), found("c:1", 1.0)])]);
        let weights = |registry: &Registry, set: Option<f64>| -> Vec<f64> {
            let overrides = BTreeMap::from([("a:1".to_owned(), Override { weight: set, drain: None })]);
            let entries = merge(&listed_ones, &answers, registry, &overrides);
            entries.iter().map(|entry| entry.member.weight).collect()
        };
        assert_eq!(weights(&Registry::default(), None), [3.0, 0.5, 0.5], "each address of a name has it");
        let registry = registered(&[("a:1", 2.0)]);
        assert_eq!(weights(&registry, None)[0], 2.0);
        assert_eq!(weights(&registry, Some(7.0))[0], 7.0);
    }

    #[test]
    fn who_left_is_drained_where_it_is_configured_and_gone_where_it_is_not() {
        let mut registry = registered(&[("a:1", 1.0), ("z:1", 1.0)]);
        registry.leave("a:1", true);
        registry.leave("z:1", false);
        let entries = merge(&[fixed("a:1")], &BTreeMap::new(), &registry, &BTreeMap::new());
        assert_eq!(names(&entries), ["a:1"]);
        assert!(entries[0].member.drain);
        let drains = |set: bool| {
            let overrides = BTreeMap::from([("a:1".to_owned(), Override { weight: None, drain: Some(set) })]);
            merge(&[fixed("a:1")], &BTreeMap::new(), &registry, &overrides)[0].member.drain
        };
        assert_eq!([drains(true), drains(false)], [true, false], "what was set by hand beats it");
    }

    proptest! {
        #[test]
        fn every_named_backend_is_there_once_and_nobody_else(
            fixed_ones in prop::collection::vec(0..12_u8, 0..8),
            answered in prop::collection::vec(0..12_u8, 0..8),
            leased in prop::collection::btree_set(0..12_u8, 0..8),
            dns_first in any::<bool>(),
        ) {
            let name = |number: &u8| format!("b{number}:1");
            let mut sources: Vec<Listed> = fixed_ones.iter().map(|n| fixed(&name(n))).collect();
            sources.insert(if dns_first { 0 } else { sources.len() }, listed(name_source(), 1.0));
            let answers: Vec<Found> = answered.iter().map(|n| found(&name(n), 1.0)).collect();
            let leases: Vec<String> = leased.iter().map(name).collect();
            let registry = registered(&leases.iter().map(|n| (n.as_str(), 1.0)).collect::<Vec<_>>());
            let entries = merge(&sources, &BTreeMap::from([(name_source(), answers)]), &registry, &BTreeMap::new());
            let mut there: Vec<String> = entries.iter().map(|e| e.member.name.to_string()).collect();
            let unsorted = there.clone();
            there.sort();
            let mut expected: Vec<String> =
                fixed_ones.iter().chain(&answered).chain(&leased).map(name).collect();
            expected.sort();
            expected.dedup();
            prop_assert_eq!(there, expected);
            // Order is stable: without the leases the rest stands as before.
            let fewer = merge(&sources, &BTreeMap::from([(name_source(), answered.iter().map(|n| found(&name(n), 1.0)).collect())]), &Registry::default(), &BTreeMap::new());
            prop_assert_eq!(&unsorted[..fewer.len()], &names(&fewer)[..]);
        }
    }
}
