//! One service as all threads of a gateway see it: its instances, its schemas, where its circuits stand.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use load_balancer::{Cluster, Member, Options, discovery, health};
use process::{ConfigError, RoleError, Services, Shutdown};

use crate::breaker::BreakerState;
use crate::config::Config;
use crate::published::Published;
use crate::schema::Schemas;
use crate::shared::Shared;

/// The longest time before the first probes; in it a house on a slow machine is up.
const PROBE_DELAY: Duration = Duration::from_secs(2);

/// One service.
pub(crate) struct Service {
    pub(crate) name: String,
    /// Whether it is part of the house.
    pub(crate) is_internal: bool,
    pub(crate) cluster: Arc<Cluster>,
    /// What it publishes, where a route asks for checks.
    pub(crate) schemas: Option<Arc<Published<Schemas>>>,
    /// How it is configured, to tell whether it stays the same.
    configured: (process::services::Service, health::Config),
    /// Where each thread's circuit stands.
    circuits: Arc<[AtomicU8]>,
}

impl Service {
    /// Puts together what the threads share of a service; `gateway` tells its figures from other gateways'.
    /// What the previous configuration knew of the service's instances and circuits is kept.
    pub(crate) fn build(
        config: &Config,
        gateway: &str,
        threads: usize,
        name: &str,
        services: &Services,
        schemas: Option<Arc<Published<Schemas>>>,
        previous: Option<&Arc<Self>>,
    ) -> Result<Arc<Self>, RoleError> {
        let Some(service) = services.find(name) else {
            return Err(RoleError::start(gateway, format!("there is no service `{name}`")));
        };
        let configured = (service.clone(), health::Config::from(&config.probe));
        let same = previous.filter(|previous| previous.configured == configured);
        if let Some(same) = same
            && same.schemas.is_some() == schemas.is_some()
        {
            return Ok(Arc::clone(same));
        }
        let options = Options { health: configured.1.clone(), ..Options::default() };
        let cluster = match previous {
            None => Cluster::new(format!("{gateway}: {name}"), &service.instances, options),
            Some(previous) => {
                previous.cluster.apply(service.instances.iter().map(Member::from).collect());
                previous.cluster.replace_options(options);
                Arc::clone(&previous.cluster)
            }
        };
        let circuits = previous.map_or_else(
            || (0..threads).map(|_| AtomicU8::new(0)).collect(),
            |previous| Arc::clone(&previous.circuits),
        );
        Ok(Arc::new(Self {
            name: name.to_owned(),
            is_internal: service.internal,
            cluster,
            schemas,
            configured,
            circuits,
        }))
    }

    /// Notes where a thread's circuit stands.
    pub(crate) fn note_circuit(&self, thread: usize, state: BreakerState) {
        if let Some(circuit) = self.circuits.get(thread) {
            circuit.store(state.number(), Ordering::Relaxed);
        }
    }

    /// Tells where each thread's circuit stands.
    pub(crate) fn circuits(&self) -> Vec<BreakerState> {
        self.circuits
            .iter()
            .map(|circuit| BreakerState::from_number(circuit.load(Ordering::Relaxed)))
            .collect()
    }
}

/// Checks that every instance can be an address; whether it is reachable shows later.
pub(crate) fn check_instances(services: &Services) -> Result<(), ConfigError> {
    for (name, service) in &services.0 {
        for instance in &service.instances {
            discovery::read_address(&instance.address)
                .map_err(|fault| ConfigError::inconsistent(format!("services.{name}.instances"), fault))?;
        }
    }
    Ok(())
}

/// Probes the instances of all services from a thread of its own, which is joined when this ends.
///
/// Not at once: services that start with the gateway are not ready yet, and gateways that start together
/// should not probe together. Until then instances are tried.
pub(crate) async fn probe(shared: Arc<Shared>, shutdown: Shutdown) {
    let clusters = shared.services.iter().map(|service| Arc::clone(&service.cluster)).collect();
    let delay = shared.config.probe.interval.min(PROBE_DELAY).mul_f64(rand::random_range(0.25..1.0));
    tokio::select! {
        () = tokio::time::sleep(delay) => {}
        () = shutdown.requested() => return,
    }
    if let Err(error) = health::probe(clusters, &shutdown).await {
        tracing::error!(%error, "instances of services are no longer probed");
    }
}
