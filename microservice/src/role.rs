//! The role: one service bound to its address, with its health and its background part.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router, middleware};
use cache::Cache;
use database::Database;
use process::http::{Limits, observe, serve};
use process::problem::kinds;
use process::services::SCHEMAS_PATH;
use process::{
    Bound, ClusterToken, Health, Listening, Problem, RoleError, Services, Shutdown, listen, token,
};
use serde_json::json;
use tokio::sync::oneshot;

use crate::accounts::{self, FirstAdmin};
use crate::background::Background;
use crate::collection::{self, Collection};
use crate::config::{Config, Service};
use crate::follower::{Follower, OwnWrites};
use crate::schema::Schema;

/// The role's name in metrics.
const ROLE: &str = "microservice";

/// Binds the service `name` at `listen`, or else at the address its configuration gives.
///
/// `database` is opened with a credential of the service's namespace. `first_admin` receives the account
/// that the very first start of the accounts service makes; the sender is dropped when there is none to tell.
#[allow(clippy::too_many_arguments, reason = "one argument for each neighbour of a service")]
pub fn bind(
    name: &str,
    listen: Option<&str>,
    config: &Config,
    services: &Services,
    database: Database,
    cache: Cache,
    token: &ClusterToken,
    first_admin: Option<oneshot::Sender<FirstAdmin>>,
) -> Result<Bound, RoleError> {
    let role = format!("service {name}");
    let Some(service) = config.services.get(name) else {
        let known: Vec<&str> = config.services.keys().map(String::as_str).collect();
        return Err(RoleError::start(
            role,
            format!("there is no such service; there are {}", known.join(", ")),
        ));
    };
    let Some(address) = listen.or_else(|| service.listen_address(name, services)) else {
        return Err(RoleError::start(role, format!("neither it nor [services.{name}] has an address")));
    };
    let own_writes = Arc::new(OwnWrites::default());
    let accounts = service.accounts.then(|| {
        Arc::new(accounts::Accounts::new(name, config.accounts.clone(), database.clone(), token.clone()))
    });
    let resources = match &accounts {
        Some(accounts) => accounts::routes(Arc::clone(accounts)),
        None => collection_routes(name, service, &database, &cache, &own_writes)
            .map_err(|reason| RoleError::start(&role, reason))?,
    };
    let follower = Follower {
        namespace: name.to_owned(),
        collections: cached_collections(service),
        database: database.clone(),
        cache,
        own_writes,
    };
    let listener = listen::bind_internal(&role, address, token)?;
    let address = listener.local_addr().map_err(|error| RoleError::start(&role, error))?;
    let health = Health::new(&role);
    let router = router(resources, &health, token);
    let background = Background {
        namespace: name.to_owned(),
        database,
        accounts,
        first_admin,
        follower,
        health: health.clone(),
    };
    let run = async move |shutdown: Shutdown| {
        tokio::join!(serve(listener, router, &shutdown, Limits::default()), background.run(shutdown.clone()));
        Ok(())
    };
    Ok(Bound::new(vec![Listening { protocol: "http", address }], role, health, run))
}

/// Binds and runs a service; see [`bind`].
#[allow(clippy::too_many_arguments, reason = "one argument for each neighbour of a service")]
pub async fn run(
    name: &str,
    listen: Option<&str>,
    config: &Config,
    services: &Services,
    database: Database,
    cache: Cache,
    token: &ClusterToken,
    first_admin: Option<oneshot::Sender<FirstAdmin>>,
    shutdown: Shutdown,
) -> Result<(), RoleError> {
    bind(name, listen, config, services, database, cache, token, first_admin)?.run(shutdown).await
}

/// Puts what needs the cluster token and what does not around a service's own routes.
fn router(resources: Router, health: &Health, token: &ClusterToken) -> Router {
    let not_found = || async { Problem::new(kinds::NOT_FOUND).into_response() };
    let not_allowed = || async { Problem::new(kinds::METHOD_NOT_ALLOWED).into_response() };
    resources
        .fallback(not_found)
        .method_not_allowed_fallback(not_allowed)
        .layer(middleware::from_fn_with_state(token.clone(), token::require))
        .merge(health.routes())
        .layer(middleware::from_fn_with_state(ROLE, observe))
}

fn collection_routes(
    namespace: &str,
    service: &Service,
    database: &Database,
    cache: &Cache,
    own_writes: &Arc<OwnWrites>,
) -> Result<Router, String> {
    let mut router = Router::new();
    let mut schemas = BTreeMap::new();
    for (name, settings) in &service.collections {
        let collection = Collection {
            namespace: namespace.to_owned(),
            name: name.clone(),
            path: format!("/{namespace}/{name}"),
            settings: settings.clone(),
            schema: Schema::load(settings)?,
            database: database.clone(),
            cache: cache.clone(),
            own_writes: Arc::clone(own_writes),
        };
        schemas.insert(collection.path.clone(), json!({ "schema": collection.schema.document() }));
        router = router.merge(collection::routes(Arc::new(collection)));
    }
    let schemas = Json(json!({ "collections": schemas }));
    Ok(router.route(SCHEMAS_PATH, get(move || std::future::ready(schemas.clone()))))
}

fn cached_collections(service: &Service) -> BTreeSet<String> {
    let cached = service.collections.iter().filter(|(_, settings)| !settings.cache_ttl.is_zero());
    cached.map(|(name, _)| name.clone()).collect()
}
