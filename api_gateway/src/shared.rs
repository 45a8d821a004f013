//! What the threads of one gateway share; nothing here is locked while a request passes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use http::HeaderValue;
use process::services::SCHEMAS_PATH;
use process::{ClusterToken, Health, HttpClient, RoleError, Services};
use proxy::fields::TrustedProxies;

use crate::config::Config;
use crate::published::{Published, Source};
use crate::rate::{Limiter, Rate};
use crate::routes::RouteTable;
use crate::service::Service;
use crate::token::{KeySet, Rules};

/// How long fetching keys or schemas may take.
const FETCH_DEADLINE: Duration = Duration::from_secs(2);

/// How often schemas are fetched anew; a service with a new schema refuses by itself meanwhile.
const SCHEMA_REFRESH: Duration = Duration::from_secs(60);

/// One gateway.
pub(crate) struct Shared {
    pub(crate) config: Config,
    /// The gateway's port, which tells it from the others in figures.
    pub(crate) label: String,
    pub(crate) health: Health,
    pub(crate) routes: RouteTable,
    pub(crate) services: Vec<Service>,
    pub(crate) trusted: TrustedProxies,
    pub(crate) rate: Rate,
    pub(crate) limiter: Limiter,
    pub(crate) rules: Rules,
    /// The keys of tokens; without the service that publishes them there are none.
    pub(crate) keys: Option<Published<KeySet>>,
    /// The cluster token as it is sent to services of the house.
    pub(crate) token_field: Option<HeaderValue>,
    threads: AtomicUsize,
}

impl Shared {
    /// Puts a gateway together from its configuration.
    pub(crate) fn build(
        config: &Config,
        name: &str,
        port: u16,
        threads: usize,
        services: &Services,
        token: &ClusterToken,
    ) -> Result<Arc<Self>, RoleError> {
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
            let schemas = schemas.flatten().map(Published::new);
            own.push(Service::build(config, name, threads, service, services, schemas)?);
        }
        let keys = source(
            services,
            &config.token.jwks_service,
            &config.token.jwks_path,
            token,
            config.token.refresh,
        );
        let keys = keys.map(|keys| Source { at_most_every: config.token.refresh_at_most_every, ..keys });
        Ok(Arc::new(Self {
            label: port.to_string(),
            health: Health::new(name),
            services: own,
            routes,
            trusted,
            rate: Rate::from(config.rate),
            limiter: Limiter::new(config.rate_clients, Instant::now()),
            rules: Rules::from(&config.token),
            keys: keys.map(Published::new),
            token_field,
            threads: AtomicUsize::new(0),
            config: config.clone(),
        }))
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
    let urls = service.instances.iter().map(|instance| format!("http://{instance}{path}")).collect();
    Some(Source { client, urls, refresh, at_most_every: refresh })
}
