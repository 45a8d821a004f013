//! The probing thread: a busy data plane cannot make a healthy backend look dead from here.

use std::sync::Arc;
use std::time::Duration;

use process::{RoleError, Shutdown};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::probe::probe_once;
use super::state::Streak;
use crate::clock::now_ns;
use crate::{Backend, Cluster};

/// How often names are looked up again.
const RESOLVE_INTERVAL: Duration = Duration::from_secs(10);

/// Probes the backends of these clusters from a thread of its own until the shutdown is requested.
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
        let mut watches = JoinSet::new();
        for cluster in clusters {
            for backend in cluster.backends() {
                watches.spawn(watch(Arc::clone(backend), cluster.health().clone()));
            }
        }
        shutdown.requested().await;
        watches.shutdown().await;
    });
    Ok(())
}

/// Probes one backend for ever.
async fn watch(backend: Arc<Backend>, config: super::Config) {
    let mut rng = SmallRng::from_os_rng();
    let mut streak = Streak::default();
    let mut resolved = Instant::now();
    let mut seen_requests = 0;
    loop {
        if backend.address().is_none() || resolved.elapsed() >= RESOLVE_INTERVAL {
            resolve(&backend).await;
            resolved = Instant::now();
        }
        let result = match backend.address() {
            None => Err("its name has no address".to_owned()),
            Some(address) => {
                probe_once(address, &config.path, config.timeout).await.map_err(|error| error.to_string())
            }
        };
        let state = backend.state();
        let next = streak.judge(state, result.is_ok(), config.rise, config.fall);
        match result {
            Ok(latency) => {
                let requests = backend.requests();
                // Requests tell more than a probe, which may ask for less work than they do.
                if requests == seen_requests {
                    let latency_ns = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
                    backend.note_probe_latency(latency_ns, now_ns());
                }
                seen_requests = requests;
            }
            Err(reason) if state != super::State::Down => {
                let (cluster, backend) = (backend.cluster(), backend.name());
                tracing::warn!(cluster, backend, reason, "a probe failed");
            }
            Err(_) => {}
        }
        backend.change_state(state, next);
        tokio::time::sleep(jittered(config.interval, &mut rng)).await;
    }
}

/// Looks a name up without holding up the probes of others.
async fn resolve(backend: &Arc<Backend>) {
    if backend.name().parse::<std::net::SocketAddr>().is_ok() {
        return;
    }
    let backend = Arc::clone(backend);
    let _ = tokio::task::spawn_blocking(move || backend.resolve()).await;
}

/// An interval with a tenth of it random, so that many probers do not ask at once.
fn jittered(interval: Duration, rng: &mut impl Rng) -> Duration {
    interval.mul_f64(rng.random_range(0.95..1.05))
}
