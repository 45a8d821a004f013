//! The configuration that holds, what goes on beside requests for as long as it does, and its change.

use std::sync::Arc;

use arc_swap::ArcSwap;
use process::{ClusterToken, Reload, Shutdown};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::config::Settings;
use crate::schema::Schemas;
use crate::service;
use crate::shared::Shared;
use crate::token::KeySet;

/// The configuration that holds, and where the next one comes from.
pub(crate) struct Current {
    /// What the threads look at with each request.
    pub(crate) shared: Arc<ArcSwap<Shared>>,
    threads: usize,
    settings: Reload<Settings>,
    token: ClusterToken,
}

impl Current {
    pub(crate) fn new(
        shared: Arc<Shared>,
        threads: usize,
        settings: Reload<Settings>,
        token: ClusterToken,
    ) -> Self {
        Self { shared: Arc::new(ArcSwap::new(shared)), threads, settings, token }
    }

    /// Keeps keys and schemas fresh and instances probed, and takes new settings, until serving has ended.
    pub(crate) async fn keep(mut self, shutdown: &Shutdown, mut served: oneshot::Receiver<()>) {
        loop {
            let shared = self.shared.load_full();
            // Of its own, because it is also requested when a configuration or serving ends.
            let probes_shutdown = Shutdown::new(shutdown.grace());
            let mut probes = JoinSet::new();
            probes.spawn(service::probe(Arc::clone(&shared), probes_shutdown.clone()));
            let mut background = start_background(&shared);
            let has_ended = tokio::select! {
                _ = &mut served => true,
                () = self.change(shutdown, &probes_shutdown) => false,
            };
            background.shutdown().await;
            probes_shutdown.request();
            // Not aborted, so that the probing thread is joined; looking up a name may hold it up beyond the
            // grace.
            if has_ended {
                shutdown.until_grace(probes.join_next()).await;
                return;
            }
            let _ = tokio::time::timeout(shutdown.grace(), probes.join_next()).await;
        }
    }

    /// Waits for new settings and puts them in force; a gateway that stops keeps those it has.
    async fn change(&mut self, shutdown: &Shutdown, probes: &Shutdown) {
        loop {
            let settings = tokio::select! {
                () = shutdown.requested() => {
                    probes.request();
                    return std::future::pending().await;
                }
                settings = self.settings.changed() => settings,
            };
            let held = self.shared.load_full();
            let name = format!("gateway {}", held.label);
            let port = held.label.parse().unwrap_or_default();
            match Shared::build(&settings, &name, port, self.threads, &self.token, Some(&held)) {
                Ok(shared) => {
                    self.shared.store(shared);
                    return;
                }
                Err(error) => tracing::error!(%error, "a gateway goes on with the settings it has"),
            }
        }
    }
}

/// Starts keeping keys and schemas fresh.
fn start_background(shared: &Arc<Shared>) -> JoinSet<()> {
    let mut background = JoinSet::new();
    if let Some(keys) = shared.keys.clone() {
        background.spawn(async move {
            let parse = |body: &[u8]| KeySet::parse(body).map_err(|error| error.to_string());
            keys.keep_fresh("the keys of tokens", parse).await;
        });
    }
    for service in &shared.services {
        if let Some(schemas) = service.schemas.clone() {
            let name = service.name.clone();
            background.spawn(async move { schemas.keep_fresh(&name, Schemas::parse).await });
        }
    }
    background
}
