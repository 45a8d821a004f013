//! The roles a process can play: a closed list.

use std::fmt;

use cache::{Cache, SharedStore};
use database::{Database, Engine};
use microservice::FirstAdmin;
use process::reload::Reloader;
use process::{Bound, RoleError};
use tokio::sync::oneshot;

use crate::settings::Settings;

/// A role, with what tells its instances apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Role {
    LoadBalancer,
    Gateway { listen: String },
    Service { name: String, listen: Option<String> },
    Worker,
    Cache,
    Database,
}

/// What the roles of a process call directly, because it has the role that others are asked for over a socket.
pub(crate) struct Shared {
    engine: Option<Engine>,
    store: Option<SharedStore>,
}

impl Shared {
    /// Opens what some of the roles have.
    pub(crate) fn open(settings: &Settings, roles: &[Role]) -> Result<Self, RoleError> {
        let opening = roles
            .contains(&Role::Database)
            .then(|| database::open(&settings.database, &settings.process.data));
        let making = roles.contains(&Role::Cache).then(|| SharedStore::new(&settings.cache));
        Ok(Self { engine: opening.transpose()?, store: making.transpose()? })
    }
}

impl Role {
    /// Binds the role's listeners; nothing is served yet. The accounts service takes the sender, through which it tells
    /// the password of an administrator it had to make.
    pub(crate) fn bind(
        &self,
        reloader: &Reloader<Settings>,
        shared: &Shared,
        first_admin: &mut Option<oneshot::Sender<FirstAdmin>>,
    ) -> Result<Bound, RoleError> {
        let settings = &*reloader.current();
        let token = settings.token();
        let database = |credential| match &shared.engine {
            Some(engine) => Database::Local(engine.clone()),
            None => Database::connect(&settings.database, credential),
        };
        let cache = || match &shared.store {
            Some(store) if !settings.cache.is_external() => Cache::local(store),
            _ => Cache::connect(&settings.cache, &token),
        };
        match self {
            Self::LoadBalancer => {
                load_balancer::bind(reloader.part(|settings| settings.load_balancer.clone()))
            }
            Self::Gateway { listen } => {
                let part = |settings: &Settings| api_gateway::Settings {
                    config: settings.api_gateway.clone(),
                    services: settings.services.clone(),
                };
                api_gateway::bind(reloader.part(part), listen, &token)
            }
            Self::Service { name, listen } => {
                let neighbours = microservice::Neighbours {
                    services: &settings.services,
                    // A service of its own process is given its own namespace and nothing else.
                    database: database(token.namespace_credential(name)),
                    cache: cache(),
                    token: &token,
                };
                let first_admin = first_admin.take_if(|_| settings.has_accounts(name));
                microservice::bind(name, listen.as_deref(), &settings.microservice, neighbours, first_admin)
            }
            Self::Worker => {
                let database = database(token.secret().cloned());
                worker::bind(&settings.worker, &settings.services, database, cache(), &token)
            }
            Self::Cache => match &shared.store {
                Some(store) => cache::bind_store(store.clone(), &settings.cache, &token),
                None => cache::bind(&settings.cache, &token),
            },
            Self::Database => match &shared.engine {
                Some(engine) => database::bind_engine(engine.clone(), &settings.database, &token),
                None => database::bind(&settings.database, &settings.process.data, &token),
            },
        }
    }

    /// Gives the addresses the role listens at, as configured.
    pub(crate) fn addresses(&self, settings: &Settings) -> Vec<String> {
        let one = |address: &String| vec![address.clone()];
        match self {
            Self::LoadBalancer => one(&settings.load_balancer.listen),
            Self::Gateway { listen } => one(listen),
            Self::Service { name, listen } => {
                let service = settings.microservice.services.get(name);
                let configured = service.and_then(|service| service.listen_address(name, &settings.services));
                listen.clone().or_else(|| configured.map(str::to_owned)).into_iter().collect()
            }
            Self::Worker => one(&settings.worker.listen),
            Self::Cache => vec![settings.cache.listen.clone(), settings.cache.resp_listen.clone()],
            Self::Database => one(&settings.database.listen),
        }
    }

    /// Names the keys of its configuration that it reads only once, each with what lies below it.
    pub(crate) fn fixed_keys(&self) -> &'static [&'static str] {
        match self {
            // It warns of its own.
            Self::LoadBalancer => &[],
            Self::Gateway { .. } => &[
                "api_gateway.listen",
                "api_gateway.threads",
                "api_gateway.header_limit",
                "api_gateway.header_timeout",
                "api_gateway.idle_timeout",
                "api_gateway.register",
                "api_gateway.advertise",
                "api_gateway.register_lease",
                "api_gateway.register_weight",
            ],
            Self::Service { .. } => &["microservice", "services", "cache", "database"],
            Self::Worker => &["worker", "services", "cache", "database"],
            Self::Cache => &["cache"],
            Self::Database => &["database"],
        }
    }

    /// Tells whether another process may take its place while it runs: it holds no lock, no work and
    /// nothing in memory that others count on.
    pub(crate) fn can_hand_over(&self) -> bool {
        match self {
            Self::LoadBalancer | Self::Gateway { .. } | Self::Service { .. } => true,
            Self::Worker | Self::Cache | Self::Database => false,
        }
    }

    /// When the role stops: what sends requests stops before what answers them.
    pub(crate) fn stop_turn(&self) -> u8 {
        match self {
            Self::LoadBalancer => 0,
            Self::Gateway { .. } => 1,
            Self::Worker => 2,
            Self::Service { .. } => 3,
            Self::Cache => 4,
            Self::Database => 5,
        }
    }
}

/// The turn in which the admin address stops: last, so that a drain can be watched.
pub(crate) const LAST_STOP_TURN: u8 = 6;

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LoadBalancer => f.write_str("load balancer"),
            Self::Gateway { listen } => write!(f, "gateway {listen}"),
            Self::Service { name, .. } => write!(f, "service {name}"),
            Self::Worker => f.write_str("worker"),
            Self::Cache => f.write_str("cache"),
            Self::Database => f.write_str("database"),
        }
    }
}
