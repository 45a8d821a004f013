//! The task that keeps a directory up to date: looks at DNS when it is time, and ends leases.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use process::Shutdown;
use tokio::task::{self, JoinError, JoinSet};
use tokio::time::Instant;

use super::answer::{Event, Memory};
use super::dns::{self, Looked};
use super::source::Source;
use super::{Config, Directory};

/// So many times the shortest interval an empty answer is left alone; it says itself for how long only by an
/// SOA record, which the resolvers of small networks leave out.
const EMPTY_FACTOR: u32 = 5;

/// The longest sleep; timers cannot be set for ever.
const IDLE: Duration = Duration::from_secs(3600);

/// One entry of DNS that is watched.
#[derive(Debug, Default)]
struct Watch {
    memory: Memory,
    failures: u32,
    /// When to look again; `None` while a look is under way.
    due: Option<Instant>,
    /// Whether it was looked at once, with whatever result.
    has_answered: bool,
}

/// Keeps a directory up to date until the shutdown.
pub(super) async fn run(directory: Arc<Directory>, shutdown: &Shutdown) {
    let look = |source: Source, config: Arc<Config>| async move { dns::look(&source, &config).await };
    run_by(look, directory, shutdown).await;
}

/// As [`run`], by this way to look at an entry.
async fn run_by<F>(look: impl Fn(Source, Arc<Config>) -> F, directory: Arc<Directory>, shutdown: &Shutdown)
where
    F: Future<Output = Option<Looked>> + Send + 'static,
{
    let mut watches: BTreeMap<Source, Watch> = BTreeMap::new();
    let mut looks: JoinSet<Option<Looked>> = JoinSet::new();
    let mut under_way: HashMap<task::Id, Source> = HashMap::new();
    loop {
        let (config, sources) = directory.questions();
        let now = Instant::now();
        watches.retain(|source, _| sources.contains(source));
        for source in &sources {
            let watch =
                watches.entry(source.clone()).or_insert_with(|| Watch { due: Some(now), ..Watch::default() });
            if watch.due.is_some_and(|due| due <= now) {
                watch.due = None;
                let task = looks.spawn(look(source.clone(), Arc::clone(&config)));
                under_way.insert(task.id(), source.clone());
            }
        }
        if watches.values().all(|watch| watch.has_answered) {
            directory.settle();
        }
        let next = watches.values().filter_map(|watch| watch.due).chain(directory.next_expiry()).min();
        tokio::select! {
            () = shutdown.requested() => break,
            () = directory.changed.notified() => {}
            Some(done) = looks.join_next_with_id() => {
                let id = done.as_ref().map_or_else(JoinError::id, |(id, _)| *id);
                let Some(source) = under_way.remove(&id) else { continue };
                let looked = match done {
                    Ok((_, looked)) => looked,
                    Err(error) => {
                        tracing::error!(%source, %error, "a look at a name broke off, by a fault of this program");
                        dns::failed(&source, "the look broke off".to_owned())
                    }
                };
                if let Some(looked) = looked
                    && let Some(watch) = watches.get_mut(&source)
                {
                    watch.take(&source, looked, &config, Instant::now());
                    publish(&directory, source, watch).await;
                }
            }
            () = tokio::time::sleep_until(next.unwrap_or(now + IDLE)) => expire(&directory).await,
        }
    }
    looks.shutdown().await;
}

impl Watch {
    /// Takes in what a look brought, and decides when to look again.
    fn take(&mut self, source: &Source, looked: Looked, config: &Config, now: Instant) {
        let port = if let Source::Name { port, .. } = source { *port } else { 0 };
        for event in self.memory.take(looked.look, port, config.empty_grace, now) {
            tell(source, &event, self.memory.backends().len(), config);
        }
        self.has_answered = true;
        self.failures = if self.memory.is_failing() { self.failures.saturating_add(1) } else { 0 };
        let next = now + until_next_look(looked.ttl, self.failures, config);
        self.due =
            Some(self.memory.grace_ends(config.empty_grace).map_or(next, |ends| next.min(ends.max(now))));
    }
}

/// How long an answer holds: its time to live within bounds; a failure is tried again ever less often.
fn until_next_look(ttl: Option<Duration>, failures: u32, config: &Config) -> Duration {
    let (shortest, longest) = (config.shortest_ttl, config.longest_ttl);
    match (failures, ttl) {
        (0, Some(ttl)) => ttl.clamp(shortest, longest),
        (0, None) => (shortest * EMPTY_FACTOR).min(longest),
        // Beyond ten doublings any bound is reached.
        (failures, _) => (shortest * (1 << (failures - 1).min(10))).min(longest),
    }
}

/// Gives the cluster what an entry stands for, off this task: a name may be looked up on the way.
///
/// While an entry could never be looked up, that is not known.
async fn publish(directory: &Arc<Directory>, source: Source, watch: &Watch) {
    if watch.memory.is_failing() && watch.memory.backends().is_empty() {
        return;
    }
    let (directory, found) = (Arc::clone(directory), watch.memory.backends().to_vec());
    let _ = tokio::task::spawn_blocking(move || directory.set_found(&source, &found)).await;
}

async fn expire(directory: &Arc<Directory>) {
    let (directory, now) = (Arc::clone(directory), Instant::now());
    let cluster = directory.cluster().name().to_owned();
    let gone = tokio::task::spawn_blocking(move || directory.expire(now)).await;
    for backend in gone.into_iter().flatten() {
        tracing::warn!(cluster, backend, "a backend did not renew its registration and was taken out");
    }
}

/// Tells what happened to an entry that stands for so many backends.
fn tell(source: &Source, event: &Event, backends: usize, config: &Config) {
    match event {
        Event::Failing(reason) => {
            tracing::warn!(%source, reason, backends, "a name cannot be looked up; its last answer holds");
        }
        Event::Mended => tracing::info!(%source, "a name can be looked up again"),
        Event::Unfound => {
            tracing::warn!(%source, "a name has no address; it stands for no backend until it has one")
        }
        Event::Emptied => {
            let grace = process::duration::format(config.empty_grace);
            tracing::warn!(%source, grace, "a name has no address any more; its last ones are kept for the grace");
        }
        Event::Removed => {
            tracing::warn!(%source, "a name has had no address for the grace; its backends are removed")
        }
        Event::Found => tracing::info!(%source, "a name has an address now"),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

    use super::super::answer::{Answer, Look};
    use super::super::saved::Saved;
    use super::*;
    use crate::cluster::Options;

    #[tokio::test(start_paused = true)]
    async fn a_name_whose_look_breaks_off_is_looked_at_again() {
        let backends = vec!["dns://gateways.internal:80".into()];
        let config = crate::Config { backends, ..crate::Config::default() };
        let make = |members| crate::Cluster::new("test", members, Options::default());
        let directory = Directory::new(&config, Saved::default(), Instant::now(), make);
        let times = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&times);
        let look = move |_, _| {
            let times = Arc::clone(&counted);
            async move {
                assert!(times.fetch_add(1, SeqCst) > 1, "the first two break off");
                let v4 = Answer::Records(vec![IpAddr::from(Ipv4Addr::LOCALHOST)]);
                Some(Looked { look: Look::Name((v4, Answer::Empty)), ttl: Some(Duration::from_secs(9)) })
            }
        };
        let shutdown = Shutdown::new(Duration::ZERO);
        let found = async {
            tokio::time::sleep(Duration::from_secs(8)).await;
            shutdown.request();
        };
        tokio::join!(run_by(look, Arc::clone(&directory), &shutdown), found);
        let members = directory.cluster().members();
        let names: Vec<_> = members.backends.iter().map(|backend| backend.name()).collect();
        assert_eq!(
            (names, times.load(SeqCst)),
            (vec!["127.0.0.1:80"], 3),
            "a failure waits, and twice as long"
        );
    }

    #[test]
    fn a_time_to_live_is_kept_within_bounds() {
        let config = Config::default();
        let next = |ttl, failures| until_next_look(ttl, failures, &config).as_secs();
        assert_eq!(next(Some(Duration::ZERO), 0), 1);
        assert_eq!(next(Some(Duration::from_secs(20)), 0), 20);
        assert_eq!(next(Some(Duration::from_secs(86_400)), 0), 60);
        assert_eq!(next(None, 0), 5);
        assert_eq!(
            [1, 2, 3, 6, 7, 99, u32::MAX].map(|failures| next(None, failures)),
            [1, 2, 4, 32, 60, 60, 60]
        );
    }
}
