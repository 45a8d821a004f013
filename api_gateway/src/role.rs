//! The gateway as a role: bound, then serving with its background part beside it.

use std::sync::Arc;

use process::{Bound, ClusterToken, RoleError, Services, Shutdown};
use proxy::server::{self, Limits, Listeners};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::config::Config;
use crate::gateway::Gateway;
use crate::register::Registration;
use crate::schema::Schemas;
use crate::shared::Shared;
use crate::token::KeySet;
use crate::{admin, service};

/// Binds one gateway at an address.
///
/// It asks for no cluster token, since it guards itself; beyond loopback the services of the house it leads
/// to do ask for one.
pub fn bind(
    config: &Config,
    listen: &str,
    services: &Services,
    token: &ClusterToken,
) -> Result<Bound, RoleError> {
    let listeners = Listeners::bind("gateway", listen, config.threads)?;
    let port = listeners.address().port();
    let name = format!("gateway {port}");
    let shared = Shared::build(config, &name, port, listeners.threads(), services, token)?;
    let registration = Registration::new(config, &name, listeners.address(), token)?;
    let listening = vec![listeners.listening()];
    let admin = admin::routes(&shared);
    let run = {
        let (shared, name) = (Arc::clone(&shared), name.clone());
        async move |shutdown: Shutdown| serve(shared, name, listeners, registration, shutdown).await
    };
    Ok(Bound::new(listening, name, shared.health.clone(), run).with_admin(admin))
}

/// Binds one gateway and serves until the shutdown.
pub async fn run(
    config: &Config,
    listen: &str,
    services: &Services,
    token: &ClusterToken,
    shutdown: Shutdown,
) -> Result<(), RoleError> {
    bind(config, listen, services, token)?.run(shutdown).await
}

async fn serve(
    shared: Arc<Shared>,
    name: String,
    listeners: Listeners,
    registration: Option<Arc<Registration>>,
    shutdown: Shutdown,
) -> Result<(), RoleError> {
    // Of its own, because it is also requested when serving ends by itself.
    let probes_shutdown = Shutdown::new(shutdown.grace());
    let mut probes = JoinSet::new();
    probes.spawn(service::probe(Arc::clone(&shared), probes_shutdown.clone()));
    let mut background = start_background(&shared, &shutdown, &probes_shutdown);
    shared.health.set_ready();
    let limits = Limits {
        header_timeout: shared.config.header_timeout,
        idle_timeout: shared.config.idle_timeout,
        max_header_size: usize::try_from(shared.config.header_limit).unwrap_or(usize::MAX),
        ..Limits::default()
    };
    // What serving is told to stop by: later than the gateway itself, which leaves its balancers first.
    let stop = Shutdown::new(shutdown.grace());
    let make_handler = {
        let shared = Arc::clone(&shared);
        move || Gateway::new(Arc::clone(&shared))
    };
    let serving = server::serve(&name, listeners, limits, &stop, make_handler);
    let (served, ()) = tokio::join!(
        async {
            let served = serving.await;
            // Should serving end by itself, nobody must go on sending requests here.
            shutdown.request();
            served
        },
        leave_then_stop(registration, &shared, &shutdown, &stop),
    );
    background.shutdown().await;
    probes_shutdown.request();
    // Not aborted, so that the probing thread is joined; looking up a name may hold it up beyond the grace.
    shutdown.until_grace(probes.join_next()).await;
    served
}

/// Joins the balancers; on the shutdown leaves them, and only then lets serving stop.
///
/// Leaving may use half of the grace; what is in flight has the rest.
async fn leave_then_stop(
    registration: Option<Arc<Registration>>,
    shared: &Arc<Shared>,
    shutdown: &Shutdown,
    stop: &Shutdown,
) {
    if let Some(registration) = registration {
        let too_long = async {
            shutdown.requested().await;
            // The successor is registered at the same address, and stays.
            if !shutdown.is_handed_over() {
                tokio::time::sleep(shutdown.grace() / 2).await;
            }
        };
        tokio::select! {
            biased;
            () = too_long => {}
            () = registration.keep(Arc::clone(shared), shutdown.clone()) => {}
        }
    }
    shutdown.requested().await;
    if shutdown.is_handed_over() {
        stop.note_handed_over();
    }
    stop.request_by(Instant::now() + shutdown.grace());
}

/// Starts what goes on beside requests: keeping keys and schemas fresh, and noticing that it drains.
fn start_background(shared: &Arc<Shared>, shutdown: &Shutdown, probes: &Shutdown) -> JoinSet<()> {
    let mut background = JoinSet::new();
    if shared.keys.is_some() {
        let shared = Arc::clone(shared);
        background.spawn(async move {
            let parse = |body: &[u8]| KeySet::parse(body).map_err(|error| error.to_string());
            if let Some(keys) = &shared.keys {
                keys.keep_fresh("the keys of tokens", parse).await;
            }
        });
    }
    for (index, service) in shared.services.iter().enumerate() {
        if service.schemas.is_some() {
            let shared = Arc::clone(shared);
            background.spawn(async move {
                let service = &shared.services[index];
                if let Some(schemas) = &service.schemas {
                    schemas.keep_fresh(&service.name, Schemas::parse).await;
                }
            });
        }
    }
    let (health, shutdown, probes) = (shared.health.clone(), shutdown.clone(), probes.clone());
    background.spawn(async move {
        shutdown.requested().await;
        health.set_draining();
        probes.request();
    });
    background
}
