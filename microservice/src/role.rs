//! The role: one service bound to its address, with its health and its background part.

use std::sync::Arc;

use axum::response::IntoResponse;
use axum::{Router, middleware};
use cache::Cache;
use database::Database;
use process::http::{Limits, observe, serve};
use process::problem::kinds;
use process::{
    Bound, ClusterToken, Health, Listening, Problem, RoleError, Services, Shutdown, coding, listen, token,
};
use tokio::sync::{oneshot, watch};

use crate::accounts::{self, FirstAdmin};
use crate::assemble::{Common, assemble};
use crate::background::Background;
use crate::collection::places::Feeds;
use crate::config::{Config, Service};
use crate::cursor::Keys;
use crate::follower::Follower;
use crate::namespace::Namespace;
use crate::preparation::Preparation;
use crate::purge::Purge;
use crate::reseal::Reseal;
use crate::sensitive;

/// The role's name in metrics.
const ROLE: &str = "microservice";

/// What a service works with.
#[derive(Debug)]
pub struct Neighbours<'a> {
    /// Where the house's services are.
    pub services: &'a Services,
    /// The database, opened with a credential of the service's namespace.
    pub database: Database,
    /// What its reads go through.
    pub cache: Cache,
    /// What callers show.
    pub token: &'a ClusterToken,
}

/// Binds the service `name` at `listen`, or else at the address its configuration gives.
///
/// `first_admin` receives the account that the very first start of the accounts service makes; the sender is dropped
/// when there is none to tell.
pub fn bind(
    name: &str,
    listen: Option<&str>,
    config: &Config,
    neighbours: Neighbours<'_>,
    first_admin: Option<oneshot::Sender<FirstAdmin>>,
) -> Result<Bound, RoleError> {
    let role = format!("service {name}");
    let refused = |reason: String| RoleError::start(&role, reason);
    let Neighbours { services, database, cache, token } = neighbours;
    let service = config.services.get(name).ok_or_else(|| {
        let known: Vec<&str> = config.services.keys().map(String::as_str).collect();
        refused(format!("there is no such service; there are {}", known.join(", ")))
    })?;
    let address = listen
        .or_else(|| service.listen_address(name, services))
        .ok_or_else(|| refused(format!("neither it nor [services.{name}] has an address")))?;
    let (end_feeds, ending) = watch::channel(false);
    let namespace = Namespace { name: name.to_owned(), database };
    let keys = service.has_sensitive_fields().then(|| sensitive::Keys::read(&config.sensitive));
    let common = Common {
        namespace: namespace.clone(),
        cache,
        own_writes: Arc::default(),
        doubt: Arc::default(),
        feeds: Arc::new(Feeds::new(ending)),
        in_flight: Arc::default(),
        cursor_keys: Arc::new(Keys::new(namespace.clone())),
        sealing: keys.transpose().map_err(refused)?.map(Arc::new),
    };
    let assembled = assemble(service, &common).map_err(refused)?;
    let accounts = service.accounts.then(|| {
        let Namespace { name, database } = &namespace;
        Arc::new(accounts::Accounts::new(name, config.accounts.clone(), database.clone(), token.clone()))
    });
    let listener = listen::bind_internal(&role, address, token)?;
    let address = listener.local_addr().map_err(|error| RoleError::start(&role, error))?;
    let health = Health::new(&role);
    let background = Background {
        preparation: Preparation {
            namespace: namespace.clone(),
            declarations: assembled.declarations(),
            cursor_keys: accounts.is_none().then(|| Arc::clone(&common.cursor_keys)),
            accounts: accounts.clone(),
        },
        first_admin,
        reseal: Reseal {
            namespace: namespace.clone(),
            cache: common.cache.clone(),
            collections: assembled.sensitive(),
        },
        purge: Purge::new(namespace.clone(), service),
        follower: follower(service, common),
        health: health.clone(),
    };
    let resources = match accounts {
        Some(accounts) => accounts::routes(accounts),
        None => assembled.routes(name),
    };
    let router = router(resources, &health, token);
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

/// Makes what follows the changes of the collections that the cache has.
fn follower(service: &Service, common: Common) -> Follower {
    let cached = || service.collections.iter().filter(|(_, settings)| !settings.cache_ttl.is_zero());
    Follower {
        namespace: common.namespace,
        collections: cached().map(|(name, _)| name.clone()).collect(),
        longest_ttl: cached().map(|(_, settings)| settings.cache_ttl).max().unwrap_or_default(),
        doubt: common.doubt,
        cache: common.cache,
        own_writes: common.own_writes,
    }
}
