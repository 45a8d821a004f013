//! How a cluster chooses among its backends and guards them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use process::Secret;
use proxy::connect::{Protocol, Target};
use proxy::tls;
use tokio_rustls::rustls::ClientConfig;

use crate::dispatch::hedge;
use crate::{Policy, ejection, health, limit};

/// Envoy's `healthy_panic_threshold`.
pub const PANIC_THRESHOLD: f64 = 0.5;

/// Long enough for caches to fill and connections to open, short enough that the others are not overworked.
pub const SLOW_START: Duration = Duration::from_secs(10);

/// How a cluster chooses among its backends and guards them; all of it can be replaced while it runs.
#[derive(Debug, Clone)]
pub struct Options {
    /// How a backend is chosen.
    pub policy: Policy,
    /// How much more than its part of the requests in flight a policy that hashes gives a backend, as a factor; 0
    /// sets no bound.
    pub hash_balance_factor: f64,
    /// How backends are probed.
    pub health: health::Config,
    /// When requests put a backend out.
    pub ejection: ejection::Config,
    /// How many requests a backend and all together work on at a time.
    pub limit: limit::Config,
    /// When a request is sent to a second backend because the first is slow.
    pub hedge: hedge::Config,
    /// When a smaller share of backends than this is well, all are used but those that are surely dead; 0
    /// turns this off.
    pub panic_threshold: f64,
    /// Over this time a backend that is new or back comes to its full share; 0s turns this off.
    pub slow_start: Duration,
    /// What signs the cookies of a sticky policy, which needs it.
    pub sticky_secret: Option<Secret>,
    /// What is spoken with backends.
    pub link: Link,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            policy: Policy::default(),
            hash_balance_factor: 0.0,
            health: health::Config::default(),
            ejection: ejection::Config::default(),
            limit: limit::Config::default(),
            hedge: hedge::Config::default(),
            panic_threshold: PANIC_THRESHOLD,
            slow_start: SLOW_START,
            sticky_secret: None,
            link: Link::default(),
        }
    }
}

/// What is spoken on the connections to a cluster's backends.
#[derive(Debug, Clone, Default)]
pub struct Link {
    /// HTTP/1.1 or HTTP/2.
    pub protocol: Protocol,
    /// How backends under TLS are verified; `None` in the clear.
    pub tls: Option<Secured>,
    /// Whether each connection begins with a PROXY header.
    pub proxy_header: bool,
}

/// TLS to backends: the settings, and what was made of them once for all connections.
#[derive(Debug, Clone)]
pub struct Secured {
    /// Which names certificates must bear.
    pub settings: tls::Backend,
    /// Whom to trust and what to offer ([`proxy::tls::client_config`]).
    pub config: Arc<ClientConfig>,
}

impl Link {
    /// Gives where a backend's connections lead; `None` if its name cannot be verified.
    pub fn target(&self, name: &str, address: SocketAddr) -> Option<Target> {
        let host = name.rsplit_once(':').map_or(name, |(host, _)| host);
        let tls = match &self.tls {
            None => None,
            Some(secured) => Some(secured.settings.secure(&secured.config, host)?),
        };
        Some(Target { address, protocol: self.protocol, tls, proxy_header: self.proxy_header })
    }
}
