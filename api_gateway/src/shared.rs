//! What the threads of one gateway share; nothing here is locked while a request passes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use http::HeaderValue;
use load_balancer::load::Meter;
use process::services::SCHEMAS_PATH;
use process::{ClusterToken, Health, HttpClient, RoleError, Services};
use proxy::fields::TrustedProxies;

use crate::config::{Config, Settings, TokenConfig};
use crate::published::{Published, Source};
use crate::rate::{Limiter, Rate};
use crate::routes::RouteTable;
use crate::service::Service;
use crate::token::{KeySet, Rules};

/// How long fetching keys or schemas may take.
const FETCH_DEADLINE: Duration = Duration::from_secs(2);

/// How often schemas are fetched anew; a service with a new schema refuses by itself meanwhile.
const SCHEMA_REFRESH: Duration = Duration::from_secs(60);

/// One configuration of one gateway; another takes its place whole when it is loaded again.
pub(crate) struct Shared {
    pub(crate) config: Config,
    /// The gateway's port, which tells it from the others in figures.
    pub(crate) label: String,
    pub(crate) health: Health,
    pub(crate) routes: RouteTable,
    pub(crate) services: Vec<Arc<Service>>,
    pub(crate) trusted: TrustedProxies,
    pub(crate) rate: Rate,
    pub(crate) limiter: Arc<Limiter>,
    pub(crate) rules: Rules,
    /// The keys of tokens; without the service that publishes them there are none.
    pub(crate) keys: Option<Arc<Published<KeySet>>>,
    /// Where the keys are published, to tell whether that stays the same.
    keys_at: Option<process::services::Service>,
    /// The cluster token as it is sent to services of the house.
    pub(crate) token_field: Option<HeaderValue>,
    /// What the gateway tells balancers of its load.
    pub(crate) meter: Meter,
    threads: AtomicUsize,
}

impl Shared {
    /// Puts a gateway together from its configuration. What the previous one knew of services, clients and
    /// keys that stay is kept.
    pub(crate) fn build(
        settings: &Settings,
        name: &str,
        port: u16,
        threads: usize,
        token: &ClusterToken,
        previous: Option<&Self>,
    ) -> Result<Arc<Self>, RoleError> {
        let Settings { config, services } = settings;
        let fault = |reason: String| RoleError::start(name, reason);
        config.validate(services).map_err(|error| fault(error.to_string()))?;
        let routes = RouteTable::build(config, services).map_err(|error| fault(error.to_string()))?;
        let trusted =
            TrustedProxies::parse(&config.trusted_proxies).map_err(|error| fault(error.to_string()))?;
        let token_field = match token.secret() {
            None => None,
            Some(secret) => {
                let mut value = HeaderValue::try_from(secret.expose())
                    .map_err(|_| fault("the cluster token has characters a field cannot carry".to_owned()))?;
                value.set_sensitive(true);
                Some(value)
            }
        };
        let mut own = Vec::with_capacity(routes.services.len());
        for (index, service) in routes.services.iter().enumerate() {
            let validates = routes.validates(index);
            let schemas = validates.then(|| source(services, service, SCHEMAS_PATH, token, SCHEMA_REFRESH));
            let schemas = schemas.flatten().map(|source| Arc::new(Published::new(source)));
            let known = previous.into_iter().flat_map(|previous| &previous.services);
            let known = known.into_iter().find(|known| known.name == *service);
            own.push(Service::build(config, name, threads, service, services, schemas, known)?);
        }
        let keys_at = services.find(&config.token.jwks_service).cloned();
        let same_keys = previous.filter(|previous| {
            let (ours, theirs) = (&config.token, &previous.config.token);
            previous.keys_at == keys_at
                && (&ours.jwks_path, ours.refresh, ours.refresh_at_most_every)
                    == (&theirs.jwks_path, theirs.refresh, theirs.refresh_at_most_every)
        });
        let keys = match same_keys {
            Some(previous) => previous.keys.clone(),
            None => {
                let TokenConfig { jwks_service, jwks_path, refresh, .. } = &config.token;
                source(services, jwks_service, jwks_path, token, *refresh).map(|keys| {
                    let at_most_every = config.token.refresh_at_most_every;
                    Arc::new(Published::new(Source { at_most_every, ..keys }))
                })
            }
        };
        let same_limiter = previous.filter(|previous| previous.config.rate_clients == config.rate_clients);
        let limiter = same_limiter.map_or_else(
            || Arc::new(Limiter::new(config.rate_clients, Instant::now())),
            |previous| Arc::clone(&previous.limiter),
        );
        Ok(Arc::new(Self {
            label: port.to_string(),
            health: previous.map_or_else(|| Health::new(name), |previous| previous.health.clone()),
            services: own,
            routes,
            trusted,
            rate: Rate::from(config.rate),
            limiter,
            rules: Rules::from(&config.token),
            keys,
            keys_at,
            token_field,
            meter: Meter::default(),
            threads: AtomicUsize::new(0),
            config: config.clone(),
        }))
    }

    /// Tells whether a token that passed one of the two passes the other.
    pub(crate) fn checks_tokens_like(&self, other: &Self) -> bool {
        let same_keys = match (&self.keys, &other.keys) {
            (Some(ours), Some(theirs)) => Arc::ptr_eq(ours, theirs),
            (None, None) => true,
            _ => false,
        };
        same_keys && self.config.token == other.config.token
    }

    /// Gives a thread its number.
    pub(crate) fn enter_thread(&self) -> usize {
        self.threads.fetch_add(1, Ordering::Relaxed)
    }
}

/// Describes where a service publishes a document; the cluster token goes to services of the house only.
fn source(
    services: &Services,
    name: &str,
    path: &str,
    token: &ClusterToken,
    refresh: Duration,
) -> Option<Source> {
    let service = services.find(name)?;
    let client = match service.internal {
        true => HttpClient::new(token, FETCH_DEADLINE),
        false => HttpClient::with_credential(None, FETCH_DEADLINE),
    };
    let urls =
        service.instances.iter().map(|instance| format!("http://{}{path}", instance.address)).collect();
    Some(Source { client, urls, refresh, at_most_every: refresh })
}
