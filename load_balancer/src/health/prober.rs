//! The probing thread: a busy data plane cannot make a healthy backend look dead from here.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use process::{RoleError, Shutdown};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tokio::sync::oneshot;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;

use super::probe::{Answer, BadProbe, probe_once};
use super::question::Question;
use super::state::{State, Streak};
use crate::clock::now_ns;
use crate::cluster::{BUSY_PERIOD, Finding, IDLE_PERIOD, Options, Upkeep};
use crate::{Backend, Cluster};

/// How often names are looked up again.
const RESOLVE_INTERVAL: Duration = Duration::from_secs(10);

/// While there is no backend at all, each is probed so often: every moment costs requests.
const OUTAGE_INTERVAL: Duration = Duration::from_millis(50);

/// Between two probes of a backend there is so much time, however urgent the next one is.
const LEAST_PAUSE: Duration = Duration::from_millis(10);

/// A backend that is out is probed so many times as often as one that is in.
const OUT_PART: u32 = 4;

/// A backend that is suspected must answer within half the time it usually has, and within this.
const SUSPECT_TIMEOUT: Duration = Duration::from_millis(500);

/// Probes the backends of these clusters, and looks after the clusters, from a thread of its own until the
/// shutdown is requested. Backends that come and go meanwhile are followed.
pub async fn probe(clusters: Vec<Arc<Cluster>>, shutdown: &Shutdown) -> Result<(), RoleError> {
    let (ended, end) = oneshot::channel::<()>();
    let stop = shutdown.clone();
    let run = move || {
        let result = run_probes(&clusters, &stop);
        drop(ended);
        result
    };
    let fault = |reason: &dyn std::fmt::Display| RoleError::stopped("health probes", reason);
    let thread = std::thread::Builder::new()
        .name("health probes".to_owned())
        .spawn(run)
        .map_err(|error| fault(&error))?;
    // Waits without blocking this runtime; joining then takes no time.
    let _ = end.await;
    match thread.join() {
        Ok(result) => result.map_err(|error| fault(&error)),
        Err(_) => Err(fault(&"its thread panicked")),
    }
}

fn run_probes(clusters: &[Arc<Cluster>], shutdown: &Shutdown) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut tasks = JoinSet::new();
        for cluster in clusters {
            tasks.spawn(follow(Arc::clone(cluster)));
        }
        tasks.spawn(look_after(clusters.to_vec()));
        shutdown.requested().await;
        tasks.shutdown().await;
    });
    Ok(())
}

/// Looks after clusters for ever, often while any of them has requests.
async fn look_after(clusters: Vec<Arc<Cluster>>) {
    let mut all: Vec<_> = clusters.into_iter().map(|cluster| (cluster, Upkeep::default())).collect();
    loop {
        let periods = all.iter_mut().map(|(cluster, upkeep)| cluster.look_after(upkeep, now_ns()));
        let period = periods.min().unwrap_or(IDLE_PERIOD);
        debug_assert!(period >= BUSY_PERIOD);
        tokio::time::sleep(period).await;
    }
}

/// Probes the members of a cluster, whoever they are, for ever.
async fn follow(cluster: Arc<Cluster>) {
    let mut watches = JoinSet::new();
    let mut watched: HashMap<u64, AbortHandle> = HashMap::new();
    loop {
        let members = cluster.members();
        let mut left = std::mem::take(&mut watched);
        for backend in &members.backends {
            let number = backend.number();
            let watch = left
                .remove(&number)
                .unwrap_or_else(|| watches.spawn(watch(Arc::clone(&cluster), Arc::clone(backend))));
            watched.insert(number, watch);
        }
        left.values().for_each(AbortHandle::abort);
        drop(members);
        cluster.changed.notified().await;
        while watches.try_join_next().is_some() {}
    }
}

/// Probes one backend for ever.
async fn watch(cluster: Arc<Cluster>, backend: Arc<Backend>) {
    let mut rng = SmallRng::from_os_rng();
    let mut streak = Streak::default();
    let mut resolved = Instant::now();
    let mut seen_requests = 0;
    loop {
        if backend.address().is_none() || resolved.elapsed() >= RESOLVE_INTERVAL {
            resolve(&cluster, &backend).await;
            resolved = Instant::now();
        }
        let options = cluster.options();
        let result = ask(&backend, &options).await;
        let requests = backend.requests();
        take_in(&cluster, &backend, &options, &mut streak, result, requests == seen_requests);
        seen_requests = requests;
        tokio::time::sleep(LEAST_PAUSE).await;
        let interval = jittered(next_interval(&cluster, &backend, &options), &mut rng);
        tokio::select! {
            () = tokio::time::sleep(interval.saturating_sub(LEAST_PAUSE)) => {}
            () = backend.nudge.notified() => {}
        }
    }
}

async fn ask(backend: &Backend, options: &Options) -> Result<Answer, BadProbe> {
    let address = backend.address().ok_or(BadProbe::NoAddress)?;
    let no_answer = |reason: &str| BadProbe::NoAnswer(reason.to_owned());
    let target =
        options.link.target(backend.name(), address).ok_or_else(|| no_answer("its name is not valid"))?;
    let question = Question::new(&options.health).map_err(|fault| no_answer(&fault.message))?;
    let timeout = match backend.state() {
        State::Suspect => SUSPECT_TIMEOUT.min(options.health.timeout / 2),
        _ => options.health.timeout,
    };
    probe_once(&target, &question, timeout).await
}

/// Takes a probe's result in; `is_idle` tells that there were no requests since the last.
fn take_in(
    cluster: &Cluster,
    backend: &Backend,
    options: &Options,
    streak: &mut Streak,
    result: Result<Answer, BadProbe>,
    is_idle: bool,
) {
    let health = backend.condition().health;
    let finding = match &result {
        Ok(_) => Some(Finding::Good),
        Err(reason) => reason.finding(),
    };
    if let Err(reason) = &result
        && (finding.is_none() || health != State::Down)
    {
        let (cluster, backend) = (cluster.name(), backend.name());
        tracing::warn!(cluster, backend, %reason, "a probe failed");
    }
    // What this side lacks says nothing of the backend.
    let Some(finding) = finding else { return };
    // Where nothing else is left, the first good probe counts.
    let rise = if cluster.is_available() { options.health.rise } else { 1 };
    let next = streak.judge(health, result.is_ok(), rise, options.health.fall);
    let now = now_ns();
    if let Ok(answer) = result {
        // Requests tell more than a probe, which may ask for less work than they do.
        if is_idle {
            backend.note_probe_latency(u64::try_from(answer.latency.as_nanos()).unwrap_or(u64::MAX), now);
        }
        if let Some(load) = answer.load {
            backend.note_load(load, now);
        }
    }
    cluster.note_probe(backend, finding, next, now);
    if finding == Finding::Refused {
        backend.note_refused_probe(now);
    }
}

/// Gives when to probe again: sooner when it is out, and much sooner when all are.
fn next_interval(cluster: &Cluster, backend: &Backend, options: &Options) -> Duration {
    let interval = options.health.interval;
    if !cluster.is_available() {
        interval.min(OUTAGE_INTERVAL)
    } else if matches!(backend.state(), State::Ejected | State::Trial | State::Suspect) {
        (interval / OUT_PART).max(interval.min(OUTAGE_INTERVAL))
    } else {
        interval
    }
}

/// Looks a name up without holding up the probes of others.
async fn resolve(cluster: &Arc<Cluster>, backend: &Arc<Backend>) {
    if backend.address().is_some() && backend.name().parse::<std::net::SocketAddr>().is_ok() {
        return;
    }
    let (cluster, backend) = (Arc::clone(cluster), Arc::clone(backend));
    let looking = tokio::task::spawn_blocking(move || {
        if backend.resolve() {
            cluster.note_resolved();
        }
    });
    let _ = looking.await;
}

/// An interval with a tenth of it random, so that many probers do not ask at once.
fn jittered(interval: Duration, rng: &mut impl Rng) -> Duration {
    interval.mul_f64(rng.random_range(0.95..1.05))
}
