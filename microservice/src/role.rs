//! The role: one service bound to its address, with its health and its background part.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::response::IntoResponse;
use axum::routing::{any, get};
use axum::{Json, Router, middleware};
use cache::Cache;
use database::Database;
use process::http::{Limits, observe, serve};
use process::problem::kinds;
use process::services::SCHEMAS_PATH;
use process::{
    Bound, ClusterToken, Health, Listening, Problem, RoleError, Services, Shutdown, coding, listen, token,
};
use serde_json::json;
use tokio::sync::{oneshot, watch};

use crate::accounts::{self, FirstAdmin};
use crate::background::Background;
use crate::collection::in_flight::InFlight;
use crate::collection::places::Feeds;
use crate::collection::{self, Collection, batch};
use crate::config::{Config, Service};
use crate::cursor::Keys;
use crate::declare;
use crate::doubt::Doubt;
use crate::follower::{Follower, OwnWrites};
use crate::namespace::Namespace;
use crate::openapi;
use crate::preparation::Preparation;
use crate::purge::Purge;
use crate::reseal::Reseal;
use crate::rules::Rules;
use crate::schema::Schema;
use crate::sensitive::{self, Sensitive};

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
    let known = Known::default();
    let (end_feeds, ending) = watch::channel(false);
    let accounts = service.accounts.then(|| {
        Arc::new(accounts::Accounts::new(name, config.accounts.clone(), database.clone(), token.clone()))
    });
    let keys = service.has_sensitive_fields().then(|| sensitive::Keys::read(&config.sensitive));
    let keys = keys.transpose().map_err(|reason| RoleError::start(&role, reason))?.map(Arc::new);
    let namespace = Namespace { name: name.to_owned(), database: database.clone() };
    let reseal = Reseal {
        namespace: namespace.clone(),
        cache: cache.clone(),
        collections: service
            .collections
            .iter()
            .map(|(of, settings)| Sensitive::new(name, of, &settings.sensitive, keys.clone()))
            .filter(|sensitive| !sensitive.is_empty())
            .collect(),
    };
    let cursor_keys = Arc::new(Keys::new(namespace.clone()));
    let purge = Purge::new(namespace.clone(), service);
    let resources = match &accounts {
        Some(accounts) => accounts::routes(Arc::clone(accounts)),
        None => collection_routes(
            name,
            service,
            &database,
            &cache,
            &known,
            Feeds::new(ending),
            keys,
            Arc::clone(&cursor_keys),
        )
        .map_err(|reason| RoleError::start(&role, reason))?,
    };
    let declarations = declare::declarations(service).map_err(|reason| RoleError::start(&role, reason))?;
    let follower = Follower {
        namespace: namespace.clone(),
        collections: cached_collections(service),
        longest_ttl: service
            .collections
            .values()
            .map(|settings| settings.cache_ttl)
            .max()
            .unwrap_or_default(),
        doubt: known.doubt,
        cache,
        own_writes: known.own_writes,
    };
    let listener = listen::bind_internal(&role, address, token)?;
    let address = listener.local_addr().map_err(|error| RoleError::start(&role, error))?;
    let health = Health::new(&role);
    let router = router(resources, &health, token);
    let preparation = Preparation {
        namespace,
        declarations,
        cursor_keys: accounts.is_none().then_some(cursor_keys),
        accounts,
    };
    let background = Background { preparation, first_admin, reseal, purge, follower, health: health.clone() };
    let run = async move |shutdown: Shutdown| {
        let ending = async {
            shutdown.requested().await;
            // Followers would otherwise use up the grace.
            let _ = end_feeds.send(true);
        };
        let serving = serve(listener, router, &shutdown, Limits::default());
        tokio::join!(serving, background.run(shutdown.clone()), ending);
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
        .layer(middleware::from_fn(coding::refuse_coded))
        .layer(middleware::from_fn_with_state(token.clone(), token::require))
        .merge(health.routes())
        .layer(middleware::from_fn_with_state(ROLE, observe))
}

/// What a service's reads, writes and follower know together of what is cached.
#[derive(Default)]
struct Known {
    own_writes: Arc<OwnWrites>,
    doubt: Arc<Doubt>,
}

#[allow(clippy::too_many_arguments, reason = "what collections share")]
fn collection_routes(
    namespace: &str,
    service: &Service,
    database: &Database,
    cache: &Cache,
    known: &Known,
    feeds: Feeds,
    sealing: Option<Arc<sensitive::Keys>>,
    keys: Arc<Keys>,
) -> Result<Router, String> {
    let feeds = Arc::new(feeds);
    let in_flight = Arc::new(InFlight::default());
    let mut router = Router::new();
    let mut schemas = BTreeMap::new();
    let mut collections = batch::Collections::new();
    for (name, settings) in &service.collections {
        let schema = Schema::load(settings)?;
        let rules =
            Rules::read(settings, &schema).map_err(|(part, reason)| format!("{name}.{part}: {reason}"))?;
        let declaration = declare::declaration(name, settings, &schema)
            .map_err(|(part, reason)| format!("{name}.{part}: {reason}"))?;
        let collection = Collection {
            indexed: declare::indexed(&declaration),
            indexed_texts: declare::indexed_texts(&declaration),
            namespace: namespace.to_owned(),
            name: name.clone(),
            path: format!("/{namespace}/{name}"),
            settings: settings.clone(),
            schema,
            sensitive: Sensitive::new(namespace, name, &settings.sensitive, sealing.clone()),
            rules,
            database: database.clone(),
            feeds: Arc::clone(&feeds),
            in_flight: Arc::clone(&in_flight),
            keys: Arc::clone(&keys),
            cache: cache.clone(),
            own_writes: Arc::clone(&known.own_writes),
            doubt: Arc::clone(&known.doubt),
        };
        schemas.insert(
            collection.path.clone(),
            json!({
                "schema": collection.schema.of_requests(),
                "sensitive": collection.schema.sensitive_fields(),
            }),
        );
        let collection = Arc::new(collection);
        collections.insert(name.clone(), Arc::clone(&collection));
        router = router.merge(collection::routes(collection));
    }
    let declarations = declare::declarations(service)?;
    let described: Vec<_> = declarations
        .iter()
        .filter_map(|declaration| Some((collections.get(&declaration.collection)?.as_ref(), declaration)))
        .collect();
    let description = Json(openapi::describe(namespace, &described));
    let describe = get(move || std::future::ready(description.clone()));
    // Beside the collections too, so that a route that reaches them reaches it; no collection's name has a dot.
    router = router
        .route("/openapi.json", describe.clone())
        .route(&format!("/{namespace}/openapi.json"), describe);
    let batch = any(batch::serve).with_state(Arc::new(collections));
    // The name with a colon is a sibling of the collections' paths, which their routes do not reach.
    let router = router
        .route(&format!("/{namespace}/_batch"), batch.clone())
        .route(&format!("/{namespace}:batch"), batch);
    let schemas = Json(json!({ "collections": schemas }));
    Ok(router.route(SCHEMAS_PATH, get(move || std::future::ready(schemas.clone()))))
}

fn cached_collections(service: &Service) -> BTreeSet<String> {
    let cached = service.collections.iter().filter(|(_, settings)| !settings.cache_ttl.is_zero());
    cached.map(|(name, _)| name.clone()).collect()
}
