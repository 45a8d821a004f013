//! The backends of one name, shared by all threads.

use std::sync::Arc;

use crate::{Backend, BackendReport, Policy, figures, health};

/// The backends that answer for one name, and how one is chosen.
#[derive(Debug)]
pub struct Cluster {
    name: Arc<str>,
    policy: Policy,
    health: health::Config,
    backends: Vec<Arc<Backend>>,
}

impl Cluster {
    /// Makes a cluster of backends given as `host:port`; names are looked up here, and again while probed.
    ///
    /// Its figures appear on `/metrics` under the name for as long as it lives. Backends are tried at once;
    /// give the cluster to [`health::probe`] to have them watched.
    pub fn new(
        name: impl Into<Arc<str>>,
        addresses: &[String],
        policy: Policy,
        health: health::Config,
    ) -> Arc<Self> {
        let name = name.into();
        let backends = addresses.iter().map(|address| Arc::new(Backend::new(&name, address))).collect();
        let cluster = Arc::new(Self { name, policy, health, backends });
        figures::show(&cluster);
        cluster
    }

    /// Gives its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Gives how a backend is chosen.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Gives how its backends are probed.
    pub fn health(&self) -> &health::Config {
        &self.health
    }

    /// Gives its backends, in the order they were given.
    pub fn backends(&self) -> &[Arc<Backend>] {
        &self.backends
    }

    /// Tells what is known about each backend.
    pub fn report(&self) -> Vec<BackendReport> {
        self.backends.iter().map(|backend| backend.report()).collect()
    }
}
