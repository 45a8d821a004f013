//! The role: bound, then run.

use process::{Bound, Health, Reload, RoleError, Shutdown};
use proxy::fields::TrustedProxies;
use proxy::server::{self, Listeners};

use crate::front::{Front, Plan};
use crate::{Cluster, Config, Options, admin, health};

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
    let options =
        Options { policy: config.policy.clone(), health: config.health.clone(), ..Options::default() };
    let cluster = Cluster::new(CLUSTER, &config.backends, options);
    let routes = admin::routes(cluster.clone());
    let own_health = Health::new(NAME);
    let listening = vec![listeners.listening()];
    let (role_health, limits) = (own_health.clone(), config.limits());
    let plan = Plan::new(cluster.clone(), trusted, config);
    let run = async move |shutdown: Shutdown| {
        role_health.set_ready();
        let drain = async {
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
        let (served, probed, drained) = tokio::join!(serving, probing, drain);
        served.and(probed).and(drained)
    };
    Ok(Bound::new(listening, NAME, own_health, run).with_admin(routes))
}

/// Runs the load balancer until the shutdown is requested.
pub async fn run(settings: Reload<Config>, shutdown: Shutdown) -> Result<(), RoleError> {
    bind(settings)?.run(shutdown).await
}
