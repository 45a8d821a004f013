//! The role: bound, then run.

use std::sync::Arc;

use process::{Bound, Health, Reload, RoleError, Shutdown};
use proxy::server::{self, Listeners};

use crate::discovery::Membership;
use crate::front::{Front, Plan};
use crate::{Cluster, Config, admin, health, reload};

/// The role's name.
const NAME: &str = "load balancer";

/// The cluster's name in figures.
const CLUSTER: &str = "gateways";

/// Binds the load balancer's address.
///
/// The address is public and asks for no token: the gateways behind it authenticate.
pub fn bind(settings: Reload<Config>) -> Result<Bound, RoleError> {
    let config = settings.current();
    let fault = |error: &dyn std::fmt::Display| RoleError::start(NAME, error);
    config.validate().map_err(|error| fault(&error))?;
    let options = config.server_options().map_err(|error| fault(&error))?;
    let chosen_by = config.cluster_options().map_err(|error| fault(&error))?;
    let (files, max_connections) = (process::open_files::limit(), config.max_connections);
    if files < max_connections as u64 {
        tracing::warn!(
            files,
            max_connections,
            "the system lets fewer files be open than clients may connect"
        );
    }
    let listeners = Listeners::bind(NAME, &config.listen, config.threads)?;
    let members = Membership::new(NAME, &config, |members| Cluster::new(CLUSTER, members, chosen_by))?;
    let cluster = Arc::clone(members.cluster());
    let routes = admin::routes(&members);
    let tls = options.tls.clone();
    let plan = Arc::new(Plan::new(Arc::clone(&cluster), config, tls).map_err(|error| fault(&error))?);
    let own_health = Health::new(NAME);
    let listening = vec![listeners.listening()];
    let (role_health, taken) = (own_health.clone(), Arc::clone(&plan));
    settings.check_with(Config::check_files);
    settings.watch_files(settings.current().files());
    let run = async move |shutdown: Shutdown| {
        let state = async {
            tokio::select! {
                () = members.until_known() => role_health.set_ready(),
                () = shutdown.requested() => {}
            }
            shutdown.requested().await;
            role_health.set_draining();
            Ok(())
        };
        let serving = async {
            let served = server::serve(NAME, listeners, options, &shutdown, move || Front::new(&plan)).await;
            // Should serving end by itself, the rest must not wait for a request that never comes.
            shutdown.request();
            served
        };
        let probing = health::probe(vec![cluster], &shutdown);
        let reloading = reload::follow(settings, &members, |config| taken.replace(config), &shutdown);
        let (served, probed, state, (), ()) =
            tokio::join!(serving, probing, state, members.run(&shutdown), reloading);
        served.and(probed).and(state)
    };
    Ok(Bound::new(listening, NAME, own_health, run).with_admin(routes))
}
