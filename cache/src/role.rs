//! The cache role: the RESP and HTTP listeners over one store, and what keeps the store tidy.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize};
use std::time::Duration;

use process::http::Limits;
use process::{Bound, ClusterToken, Health, Listening, RoleError, Shutdown, listen};

use crate::clock::Clock;
use crate::config::Config;
use crate::resp::{self, Server};
use crate::shared::SharedStore;
use crate::store::Store;
use crate::{api, figures};

/// The role's name.
pub(crate) const ROLE: &str = "cache";

/// How often expired entries are looked for (Redis' `hz 10`).
const SWEEP_INTERVAL: Duration = Duration::from_millis(100);

/// Binds both listeners over a store of their own; must be called within a runtime.
pub fn bind(config: &Config, token: &ClusterToken) -> Result<Bound, RoleError> {
    bind_store(SharedStore::new(config)?, config, token)
}

/// Binds both listeners over a store that others in this process use too; must be called within a runtime.
pub fn bind_store(shared: SharedStore, config: &Config, token: &ClusterToken) -> Result<Bound, RoleError> {
    let http = listen::bind_internal(ROLE, &config.listen, token)?;
    let resp = listen::bind_internal(ROLE, &config.resp_listen, token)?;
    let address = |listener: &tokio::net::TcpListener| {
        listener.local_addr().map_err(|error| RoleError::start(ROLE, error))
    };
    let listening = vec![
        Listening { protocol: "http", address: address(&http)? },
        Listening { protocol: "resp", address: address(&resp)? },
    ];
    let SharedStore { store, clock, largest_value } = shared;
    let server = Arc::new(Server {
        store: Arc::clone(&store),
        clock,
        token: token.clone(),
        largest_value,
        connections_limit: config.max_connections,
        idle_timeout: config.idle_timeout,
        connections: AtomicUsize::new(0),
        last_id: AtomicI64::new(0),
    });
    figures::show(&store);
    let health = Health::new(ROLE);
    let router = api::router(Arc::clone(&store), clock, largest_value, token, &health);
    let own_health = health.clone();
    let run = async move |shutdown: Shutdown| {
        own_health.set_ready();
        tokio::join!(
            process::http::serve(http, router, &shutdown, Limits::default()),
            resp::serve(resp, server, &shutdown),
            sweep(&store, clock, &shutdown),
            async {
                shutdown.requested().await;
                own_health.set_draining();
            },
        );
        Ok(())
    };
    Ok(Bound::new(listening, ROLE, health, run))
}

async fn sweep(store: &Store, clock: Clock, shutdown: &Shutdown) {
    let mut ticks = tokio::time::interval(SWEEP_INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shutdown.requested() => return,
            _ = ticks.tick() => store.sweep(clock.now_ms()),
        }
    }
}
