//! Binding and running the role: the queue API and the executor side by side.

use cache::Cache;
use database::Database;
use process::http::{Limits, serve};
use process::{Bound, ClusterToken, Health, Listening, RoleError, Services, Shutdown, listen};

use crate::api::{self, Api};
use crate::executor::run_jobs;
use crate::{Config, Kinds};

/// Binds the queue API of a worker with the built-in kinds.
pub fn bind(
    config: &Config,
    services: &Services,
    database: Database,
    cache: Cache,
    token: &ClusterToken,
) -> Result<Bound, RoleError> {
    let kinds = Kinds::built_in(services, &database, &cache, token, &config.closed_namespaces);
    bind_with_kinds(config, kinds, database, token)
}

/// Binds the queue API of a worker that runs other kinds.
pub fn bind_with_kinds(
    config: &Config,
    kinds: Kinds,
    database: Database,
    token: &ClusterToken,
) -> Result<Bound, RoleError> {
    config.validate().map_err(|error| RoleError::start("worker", error))?;
    let listener = listen::bind_internal("worker", &config.listen, token)?;
    let address = listener.local_addr().map_err(|error| RoleError::start("worker", error))?;
    let health = Health::new("worker");
    let (config, token, own_health) = (config.clone(), token.clone(), health.clone());
    let run = async move |shutdown: Shutdown| {
        let api = Api {
            database: database.clone(),
            kinds: kinds.clone(),
            served_queues: config.queues.clone().into(),
            shutdown: shutdown.clone(),
        };
        let router = api::router(api, &own_health, &token);
        let draining = async {
            shutdown.requested().await;
            own_health.set_draining();
        };
        tokio::join!(
            draining,
            serve(listener, router, &shutdown, Limits::default()),
            run_jobs(config, kinds, database, &own_health, &shutdown),
        );
        Ok(())
    };
    Ok(Bound::new(vec![Listening { protocol: "http", address }], "worker", health, run))
}
