//! The gateway as a role: bound, then serving with its background part beside it.

use std::sync::Arc;

use process::{Bound, ClusterToken, Reload, RoleError, Shutdown};
use proxy::server::{self, Limits, Listeners};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::admin;
use crate::config::Settings;
use crate::gateway::Gateway;
use crate::register::Registration;
use crate::reload::Current;
use crate::shared::Shared;

/// Binds one gateway at an address.
///
/// It asks for no cluster token, since it guards itself; beyond loopback the services of the house it leads
/// to do ask for one.
pub fn bind(settings: Reload<Settings>, listen: &str, token: &ClusterToken) -> Result<Bound, RoleError> {
    let started = settings.current();
    let config = &started.config;
    let listeners = Listeners::bind("gateway", listen, config.threads)?;
    let port = listeners.address().port();
    let name = format!("gateway {port}");
    let shared = Shared::build(&started, &name, port, listeners.threads(), token, None)?;
    let registration = Registration::new(config, &name, listeners.address(), token)?;
    let health = shared.health.clone();
    let current = Current::new(shared, listeners.threads(), settings, token.clone());
    let listening = vec![listeners.listening()];
    let admin = admin::routes(&current.shared);
    let run = {
        let name = name.clone();
        async move |shutdown: Shutdown| serve(current, name, listeners, registration, shutdown).await
    };
    Ok(Bound::new(listening, name, health, run).with_admin(admin))
}

async fn serve(
    current: Current,
    name: String,
    listeners: Listeners,
    registration: Option<Arc<Registration>>,
    shutdown: Shutdown,
) -> Result<(), RoleError> {
    let shared = current.shared.load_full();
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
        let current = Arc::clone(&current.shared);
        move || Gateway::new(Arc::clone(&current))
    };
    let serving = server::serve(&name, listeners, limits, &stop, make_handler);
    let (ended, end) = oneshot::channel();
    let draining = async {
        shutdown.requested().await;
        shared.health.set_draining();
    };
    let (served, (), (), ()) = tokio::join!(
        async {
            let served = serving.await;
            // Should serving end by itself, nobody must go on sending requests here.
            shutdown.request();
            drop(ended);
            served
        },
        leave_then_stop(registration, &shared, &shutdown, &stop),
        current.keep(&shutdown, end),
        draining,
    );
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
