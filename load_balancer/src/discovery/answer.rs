//! What is remembered of one DNS entry, and what a new answer changes about it. Pure: it is told the time.
//!
//! A question that fails keeps its last answer, so that a resolver that is down takes no backend away. A name
//! that is answered and has no address is believed only after a grace: a deploy that removes all records
//! for a moment, or a resolver that lies, would else empty the cluster.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use process::weighted::WEIGHT;
use tokio::time::Instant;

use super::merge::Found;

/// The least and greatest weight made of an SRV record; a record's weight of 0 means a very small chance
/// (RFC 2782), and no record should starve the others by a typing error.
const SRV_WEIGHTS: (f64, f64) = (0.01, 100.0);

/// What a question to DNS came to.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Answer<T> {
    /// Records.
    Records(Vec<T>),
    /// The name has none: NXDOMAIN, or no record of this type.
    Empty,
    /// Nothing is known: no answer, or a refusal.
    Failed(String),
}

/// An SRV record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) priority: u16,
    pub(crate) weight: u16,
}

/// The answers for the addresses of one host: A, then AAAA.
pub(crate) type HostAnswers = (Answer<IpAddr>, Answer<IpAddr>);

/// What one look at an entry brought.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Look {
    /// The addresses of a name.
    Name(HostAnswers),
    /// The targets of a service, and the addresses of each.
    Service(Answer<Target>, BTreeMap<String, HostAnswers>),
}

/// What a look changed that somebody should be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    /// It cannot be looked up any more; the last answer holds.
    Failing(String),
    /// It can be looked up again.
    Mended,
    /// It has no address and never had one, by a typing error most likely.
    Unfound,
    /// It has no address any more; the last ones are kept for the grace.
    Emptied,
    /// The grace is over, and it has no address still.
    Removed,
    /// It has an address, after it was told that it has none.
    Found,
}

/// The last good answer of one question.
#[derive(Debug, Clone, PartialEq)]
struct Last<T>(Vec<T>);

impl<T> Default for Last<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Last<T> {
    /// Takes an answer in; gives why it could not be had, if so.
    fn take(&mut self, answer: Answer<T>) -> Option<String> {
        match answer {
            Answer::Records(records) => self.0 = records,
            Answer::Empty => self.0.clear(),
            Answer::Failed(reason) => return Some(reason),
        }
        None
    }
}

/// The last good answers for a host.
#[derive(Debug, Clone, Default, PartialEq)]
struct Host {
    v4: Last<IpAddr>,
    v6: Last<IpAddr>,
}

impl Host {
    fn take(&mut self, (v4, v6): HostAnswers) -> Option<String> {
        let (first, second) = (self.v4.take(v4), self.v6.take(v6));
        first.or(second)
    }

    /// Gives its addresses. The unspecified one (`0.0.0.0`, `::`) is what a resolver that blocks a name answers; whoever
    /// connects to it reaches itself.
    fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.v4.0.iter().chain(&self.v6.0).copied().filter(|ip| !ip.is_unspecified())
    }
}

/// One DNS entry as it stands.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Memory {
    host: Host,
    targets: Last<Target>,
    hosts: BTreeMap<String, Host>,
    backends: Vec<Found>,
    is_failing: bool,
    empty_since: Option<Instant>,
}

impl Memory {
    /// Takes in what a look brought; `port` is that of a name's backends.
    pub(crate) fn take(&mut self, look: Look, port: u16, grace: Duration, now: Instant) -> Vec<Event> {
        let (failure, mut fresh) = match look {
            Look::Name(answers) => {
                let failure = self.host.take(answers);
                (failure, self.host.addresses().map(|ip| found(ip, port, WEIGHT)).collect())
            }
            Look::Service(targets, answers) => {
                let failure = self.take_service(targets, answers);
                (failure, self.service_backends())
            }
        };
        // Of an address that stands in two priorities the more wanted is left.
        fresh.sort_by(|one, other| one.name.cmp(&other.name).then(one.rank.cmp(&other.rank)));
        fresh.dedup_by(|one, other| one.name == other.name);
        let mut events = Vec::new();
        match (&failure, self.is_failing) {
            (Some(reason), false) => events.push(Event::Failing(reason.clone())),
            (None, true) => events.push(Event::Mended),
            _ => {}
        }
        self.is_failing = failure.is_some();
        self.settle(fresh, grace, now, &mut events);
        events
    }

    /// Gives the backends the entry stands for.
    pub(crate) fn backends(&self) -> &[Found] {
        &self.backends
    }

    /// Tells whether the last look failed, in whole or in part.
    pub(crate) fn is_failing(&self) -> bool {
        self.is_failing
    }

    /// Gives when an entry that has emptied is to be looked at again at the latest.
    pub(crate) fn grace_ends(&self, grace: Duration) -> Option<Instant> {
        self.empty_since.filter(|_| !self.backends.is_empty()).map(|since| since + grace)
    }

    fn settle(&mut self, fresh: Vec<Found>, grace: Duration, now: Instant, events: &mut Vec<Event>) {
        if !fresh.is_empty() {
            self.backends = fresh;
            if self.empty_since.take().is_some() {
                events.push(Event::Found);
            }
        } else if !self.is_failing {
            let has_backends = !self.backends.is_empty();
            let since = *self.empty_since.get_or_insert_with(|| {
                events.push(if has_backends { Event::Emptied } else { Event::Unfound });
                now
            });
            if has_backends && now >= since + grace {
                self.backends.clear();
                events.push(Event::Removed);
            }
        }
    }

    fn take_service(
        &mut self,
        targets: Answer<Target>,
        answers: BTreeMap<String, HostAnswers>,
    ) -> Option<String> {
        let mut failure = self.targets.take(targets);
        for (host, answers) in answers {
            let failed = self.hosts.entry(host).or_default().take(answers);
            failure = failure.or(failed);
        }
        let targets = &self.targets.0;
        self.hosts.retain(|host, _| targets.iter().any(|target| target.host == *host));
        failure
    }

    /// Gives the backends of every priority that has an address, the most wanted with rank 0 (RFC 2782).
    fn service_backends(&self) -> Vec<Found> {
        let mut groups: BTreeMap<u16, Vec<(&Target, &Host)>> = BTreeMap::new();
        for target in &self.targets.0 {
            let host = self.hosts.get(&target.host).filter(|host| host.addresses().next().is_some());
            if let Some(host) = host {
                groups.entry(target.priority).or_default().push((target, host));
            }
        }
        let mut backends = Vec::new();
        for (rank, group) in (0..).zip(groups.into_values()) {
            let sum: f64 = group.iter().map(|(target, _)| f64::from(target.weight)).sum();
            let mean = sum / group.len() as f64;
            for (target, host) in group {
                let weight = match mean > 0.0 {
                    true => (f64::from(target.weight) / mean).clamp(SRV_WEIGHTS.0, SRV_WEIGHTS.1),
                    false => WEIGHT,
                };
                // The record speaks of the target, however many addresses that has.
                let weight = weight / host.addresses().count().max(1) as f64;
                let of_rank = |ip| Found { rank, ..found(ip, target.port, weight) };
                backends.extend(host.addresses().map(of_rank));
            }
        }
        backends
    }
}

fn found(ip: IpAddr, port: u16, weight: f64) -> Found {
    Found { name: SocketAddr::new(ip, port).to_string(), weight, rank: 0 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GRACE: Duration = Duration::from_secs(30);

    fn records(last: &[u8]) -> Answer<IpAddr> {
        match last {
            [] => Answer::Empty,
            _ => Answer::Records(last.iter().map(|last| IpAddr::from([10, 0, 0, *last])).collect()),
        }
    }

    fn failed<T>() -> Answer<T> {
        Answer::Failed("no answer".to_owned())
    }

    fn name(last: &[u8]) -> Look {
        Look::Name((records(last), Answer::Empty))
    }

    fn names(memory: &Memory) -> Vec<&str> {
        memory.backends().iter().map(|backend| backend.name.as_str()).collect()
    }

    #[test]
    fn every_address_is_a_backend_in_a_stable_order() {
        let (mut memory, now) = (Memory::default(), Instant::now());
        let v6 = Answer::Records(vec!["::1".parse().unwrap()]);
        memory.take(Look::Name((records(&[2, 1, 2]), v6)), 80, GRACE, now);
        assert_eq!(names(&memory), ["10.0.0.1:80", "10.0.0.2:80", "[::1]:80"]);
        memory.take(name(&[3]), 80, GRACE, now);
        assert_eq!(names(&memory), ["10.0.0.3:80"], "what an answer leaves out is gone at once");
    }

    #[test]
    fn an_unspecified_address_is_none() {
        let (mut memory, now) = (Memory::default(), Instant::now());
        let blocked = || {
            let (v4, v6) = ("0.0.0.0".parse().unwrap(), "::".parse().unwrap());
            Look::Name((Answer::Records(vec![v4]), Answer::Records(vec![v6])))
        };
        assert_eq!(memory.take(blocked(), 80, GRACE, now), [Event::Unfound]);
        memory.take(name(&[1]), 80, GRACE, now);
        assert_eq!(memory.take(blocked(), 80, GRACE, now), [Event::Emptied]);
        assert_eq!(names(&memory), ["10.0.0.1:80"]);
    }

    #[test]
    fn a_resolver_that_is_down_takes_nothing_away_and_is_told_of_once() {
        let (mut memory, now) = (Memory::default(), Instant::now());
        memory.take(name(&[1]), 80, GRACE, now);
        let down = || Look::Name((failed(), failed()));
        assert_eq!(memory.take(down(), 80, GRACE, now), [Event::Failing("no answer".to_owned())]);
        assert_eq!(memory.take(down(), 80, GRACE, now + GRACE * 9), []);
        assert_eq!(names(&memory), ["10.0.0.1:80"]);
        assert_eq!(memory.take(name(&[2]), 80, GRACE, now), [Event::Mended]);
        assert_eq!(names(&memory), ["10.0.0.2:80"]);
    }

    #[test]
    fn one_failing_family_keeps_its_addresses_beside_the_other_s() {
        let (mut memory, now) = (Memory::default(), Instant::now());
        let v6 = Answer::Records(vec!["::1".parse().unwrap()]);
        memory.take(Look::Name((records(&[1]), v6)), 80, GRACE, now);
        memory.take(Look::Name((records(&[2]), failed())), 80, GRACE, now);
        assert_eq!(names(&memory), ["10.0.0.2:80", "[::1]:80"]);
    }

    #[test]
    fn an_emptied_name_is_kept_for_the_grace_and_then_removed_once() {
        let (mut memory, start) = (Memory::default(), Instant::now());
        memory.take(name(&[1]), 80, GRACE, start);
        assert_eq!(memory.take(name(&[]), 80, GRACE, start), [Event::Emptied]);
        assert_eq!(memory.grace_ends(GRACE), Some(start + GRACE));
        assert_eq!(memory.take(name(&[]), 80, GRACE, start + GRACE / 2), []);
        assert_eq!(names(&memory), ["10.0.0.1:80"]);
        assert_eq!(memory.take(name(&[]), 80, GRACE, start + GRACE), [Event::Removed]);
        assert!(memory.backends().is_empty());
        assert_eq!(memory.grace_ends(GRACE), None);
        assert_eq!(memory.take(name(&[]), 80, GRACE, start + GRACE * 2), []);
        assert_eq!(memory.take(name(&[1]), 80, GRACE, start + GRACE * 3), [Event::Found]);
        assert_eq!(names(&memory), ["10.0.0.1:80"]);
        assert_eq!(memory.take(name(&[1]), 80, GRACE, start + GRACE * 3), []);
    }

    #[test]
    fn a_name_that_never_had_an_address_is_told_of_once_and_when_it_gets_one() {
        let (mut memory, now) = (Memory::default(), Instant::now());
        assert_eq!(memory.take(name(&[]), 80, GRACE, now), [Event::Unfound]);
        assert_eq!(memory.grace_ends(GRACE), None);
        assert_eq!(memory.take(name(&[]), 80, GRACE, now + GRACE * 2), [], "nothing is there to be removed");
        assert_eq!(memory.take(name(&[1]), 80, GRACE, now + GRACE * 2), [Event::Found]);
        assert_eq!(memory.take(name(&[]), 80, GRACE, now + GRACE * 2), [Event::Emptied]);
    }

    #[test]
    fn a_name_that_could_never_be_looked_up_is_told_of_once_and_when_it_can() {
        let (mut memory, now) = (Memory::default(), Instant::now());
        let down = || Look::Name((failed(), failed()));
        assert_eq!(memory.take(down(), 80, GRACE, now), [Event::Failing("no answer".to_owned())]);
        assert_eq!(memory.take(down(), 80, GRACE, now), []);
        assert_eq!(memory.take(name(&[]), 80, GRACE, now), [Event::Mended, Event::Unfound]);
        assert_eq!(memory.take(name(&[1]), 80, GRACE, now), [Event::Found]);
    }

    #[test]
    fn an_answer_within_the_grace_ends_it() {
        let (mut memory, start) = (Memory::default(), Instant::now());
        memory.take(name(&[1]), 80, GRACE, start);
        memory.take(name(&[]), 80, GRACE, start);
        assert_eq!(memory.take(name(&[1]), 80, GRACE, start + GRACE / 2), [Event::Found]);
        assert_eq!(memory.take(name(&[]), 80, GRACE, start + GRACE), [Event::Emptied], "it begins anew");
    }

    fn target(host: &str, priority: u16, weight: u16) -> Target {
        Target { host: host.to_owned(), port: 80, priority, weight }
    }

    fn hosts(all: &[(&str, &[u8])]) -> BTreeMap<String, HostAnswers> {
        all.iter().map(|(host, last)| ((*host).to_owned(), (records(last), Answer::Empty))).collect()
    }

    #[test]
    fn a_service_gives_weights_whose_mean_is_one_and_ranks_by_priority() {
        let (mut memory, now) = (Memory::default(), Instant::now());
        let targets = vec![target("a", 1, 10), target("b", 1, 30), target("c", 1, 0), target("d", 2, 5)];
        let answers = hosts(&[("a", &[1]), ("b", &[2]), ("c", &[3]), ("d", &[4])]);
        memory.take(Look::Service(Answer::Records(targets.clone()), answers), 0, GRACE, now);
        let weights: Vec<f64> = memory.backends().iter().map(|backend| backend.weight).collect();
        assert_eq!(names(&memory), ["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80", "10.0.0.4:80"]);
        assert_eq!(weights, [0.75, 2.25, 0.01, 1.0]);
        let ranks = |memory: &Memory| -> Vec<u16> { memory.backends().iter().map(|one| one.rank).collect() };
        assert_eq!(ranks(&memory), [0, 0, 0, 1]);
        let answers = hosts(&[("a", &[]), ("b", &[]), ("c", &[]), ("d", &[4])]);
        memory.take(Look::Service(Answer::Records(targets), answers), 0, GRACE, now);
        assert_eq!(names(&memory), ["10.0.0.4:80"]);
        assert_eq!(ranks(&memory), [0], "the next priority when the first has no address");
        let answers = hosts(&[("d", &[4, 5])]);
        memory.take(Look::Service(Answer::Records(vec![target("d", 2, 5)]), answers), 0, GRACE, now);
        let weights: Vec<f64> = memory.backends().iter().map(|backend| backend.weight).collect();
        assert_eq!(weights, [0.5, 0.5], "a target's weight is shared by its addresses");
    }

    #[test]
    fn weights_of_zero_are_equal_weights() {
        let (mut memory, now) = (Memory::default(), Instant::now());
        let targets = Answer::Records(vec![target("a", 0, 0), target("b", 0, 0)]);
        memory.take(Look::Service(targets, hosts(&[("a", &[1]), ("b", &[2])])), 0, GRACE, now);
        assert!(memory.backends().iter().all(|backend| backend.weight == WEIGHT));
    }

    #[test]
    fn a_target_that_cannot_be_looked_up_keeps_its_addresses() {
        let (mut memory, now) = (Memory::default(), Instant::now());
        let targets = || Answer::Records(vec![target("a", 0, 1), target("b", 0, 1)]);
        memory.take(Look::Service(targets(), hosts(&[("a", &[1]), ("b", &[2])])), 0, GRACE, now);
        let mut answers = hosts(&[("a", &[3])]);
        answers.insert("b".to_owned(), (failed(), failed()));
        memory.take(Look::Service(targets(), answers), 0, GRACE, now);
        assert_eq!(names(&memory), ["10.0.0.2:80", "10.0.0.3:80"]);
    }

    proptest! {
        /// However answers and failures follow each other: failures change nothing, and backends are gone only
        /// after the name was empty for the whole grace.
        #[test]
        fn backends_go_only_by_an_answer(looks in prop::collection::vec((0..3_u8, 0..20_u64), 1..40)) {
            let (mut memory, mut now) = (Memory::default(), Instant::now());
            let mut empty_since = None;
            for (kind, wait) in looks {
                now += Duration::from_secs(wait);
                let before = memory.backends().to_vec();
                match kind {
                    0 => {
                        memory.take(name(&[1]), 80, GRACE, now);
                        empty_since = None;
                        prop_assert_eq!(memory.backends().len(), 1);
                    }
                    1 => {
                        memory.take(name(&[]), 80, GRACE, now);
                        if !before.is_empty() {
                            let since = *empty_since.get_or_insert(now);
                            prop_assert_eq!(memory.backends().is_empty(), now >= since + GRACE);
                        }
                    }
                    _ => {
                        memory.take(Look::Name((failed(), failed())), 80, GRACE, now);
                        prop_assert_eq!(memory.backends(), &before[..]);
                    }
                }
            }
        }
    }
}
