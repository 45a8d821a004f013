//! The role: bound, then run.

use std::sync::Arc;

use process::{Bound, Health, Reload, RoleError, Shutdown};
use proxy::fields::TrustedProxies;
use proxy::server::{self, Listeners};

use crate::discovery::Membership;
use crate::front::{Front, Plan};
use crate::{Cluster, Config, Options, admin, health, reload};

/// The role's name.
const NAME: &str = "load balancer";

/// The cluster's name in figures.
const CLUSTER: &str = "gateways";

/// Binds the load balancer's address.
///
/// The address is public and asks for no token: the gateways behind it authenticate.
pub fn bind(settings: Reload<Config>) -> Result<Bound, RoleError> {
    let config = &*settings.current();
    config.validate().map_err(|error| RoleError::start(NAME, error))?;
    let trusted = TrustedProxies::parse(&config.trusted_proxies).map_err(|e| RoleError::start(NAME, e))?;
    let listeners = Listeners::bind(NAME, &config.listen, config.threads)?;
    let members = Membership::new(NAME, config, |members| Cluster::new(CLUSTER, members, options(config)))?;
    let cluster = Arc::clone(members.cluster());
    let routes = admin::routes(&members);
    let own_health = Health::new(NAME);
    let listening = vec![listeners.listening()];
    let (role_health, limits) = (own_health.clone(), config.limits());
    let plan = Plan::new(cluster.clone(), trusted, config);
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
            let served = server::serve(NAME, listeners, limits, &shutdown, move || Front::new(&plan)).await;
            // Should serving end by itself, the rest must not wait for a request that never comes.
            shutdown.request();
            served
        };
        let probing = health::probe(vec![cluster], &shutdown);
        let take = |config: &Arc<Config>| members.cluster().replace_options(options(config));
        let reloading = reload::follow(settings, &members, take, &shutdown);
        let (served, probed, state, (), ()) =
            tokio::join!(serving, probing, state, members.run(&shutdown), reloading);
        served.and(probed).and(state)
    };
    Ok(Bound::new(listening, NAME, own_health, run).with_admin(routes))
}

/// Runs the load balancer until the shutdown is requested.
pub async fn run(settings: Reload<Config>, shutdown: Shutdown) -> Result<(), RoleError> {
    bind(settings)?.run(shutdown).await
}

fn options(config: &Config) -> Options {
    Options { policy: config.policy.clone(), health: config.health.clone(), ..Options::default() }
}
