//! The section `[load_balancer]`.

use std::path::PathBuf;
use std::time::Duration;

use process::ConfigError;
use proxy::fields::TrustedProxies;
use proxy::server::Limits;
use proxy::{Timeouts, pool::PoolOptions};
use serde::{Deserialize, Serialize};

use crate::{Policy, discovery, health, registry};

/// The section `[load_balancer]`: where it listens and what it balances over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The address clients connect to.
    pub listen: String,
    /// Threads of the data plane; 0 means one a core.
    pub threads: usize,
    /// The backends, as `host:port`, `dns://host:port` or `srv://name`; none where all register themselves.
    pub backends: Vec<String>,
    /// How a backend is chosen: `latency` and the others of docs/policies.md.
    pub policy: Policy,
    /// How often a request that failed may be sent to another backend, where that is safe.
    pub retries: u32,
    /// Connections of clients at a time; more wait to be accepted.
    pub max_connections: usize,
    /// Proxies in front, as addresses or networks, whose `X-Forwarded-*` and `Forwarded` are believed.
    pub trusted_proxies: Vec<String>,
    /// How long opening a connection to a backend may take.
    #[serde(with = "process::duration")]
    pub connect_timeout: Duration,
    /// How long a backend may be silent before its response begins.
    #[serde(with = "process::duration")]
    pub head_timeout: Duration,
    /// How long the header fields of a client's request may take to arrive.
    #[serde(with = "process::duration")]
    pub header_timeout: Duration,
    /// How long a client's connection may stay open without a request.
    #[serde(with = "process::duration")]
    pub idle_timeout: Duration,
    /// How long a connection to a backend is kept without a request; shorter than the backend keeps it.
    #[serde(with = "process::duration")]
    pub backend_idle_timeout: Duration,
    /// Where weights, drains and registrations are kept across a restart; without it they are forgotten.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<PathBuf>,
    /// How backends are probed.
    pub health: health::Config,
    /// How names in `backends` are looked up.
    pub discovery: discovery::Config,
    /// What backends that register themselves may ask for.
    pub registration: registry::Config,
}

impl Default for Config {
    fn default() -> Self {
        let limits = Limits::default();
        let timeouts = Timeouts::default();
        Self {
            listen: "127.0.0.1:8000".to_owned(),
            threads: 0,
            backends: [5000, 5006, 5007, 5008, 5009].map(|port| format!("127.0.0.1:{port}")).to_vec(),
            policy: Policy::default(),
            retries: 2,
            max_connections: limits.connections,
            trusted_proxies: Vec::new(),
            connect_timeout: timeouts.connect,
            head_timeout: timeouts.head,
            header_timeout: limits.header_timeout,
            idle_timeout: limits.idle_timeout,
            backend_idle_timeout: PoolOptions::default().idle_timeout,
            state: None,
            health: health::Config::default(),
            discovery: discovery::Config::default(),
            registration: registry::Config::default(),
        }
    }
}

impl Config {
    /// Checks what serde cannot.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let fault =
            |key: &str, message: String| ConfigError::inconsistent(format!("load_balancer.{key}"), message);
        discovery::check_backends(&self.backends).map_err(|message| fault("backends", message))?;
        if self.max_connections == 0 {
            return Err(fault("max_connections", "it must be at least 1".to_owned()));
        }
        let durations = [
            ("connect_timeout", self.connect_timeout),
            ("head_timeout", self.head_timeout),
            ("header_timeout", self.header_timeout),
            ("idle_timeout", self.idle_timeout),
        ];
        for (key, duration) in durations {
            if duration.is_zero() {
                return Err(fault(key, "it must be longer than 0s".to_owned()));
            }
        }
        TrustedProxies::parse(&self.trusted_proxies)
            .map_err(|error| fault("trusted_proxies", error.to_string()))?;
        self.discovery.validate()?;
        self.registration.validate()?;
        self.health.validate("load_balancer.health")
    }

    pub(crate) fn limits(&self) -> Limits {
        Limits {
            connections: self.max_connections,
            header_timeout: self.header_timeout,
            idle_timeout: self.idle_timeout,
            ..Limits::default()
        }
    }

    pub(crate) fn timeouts(&self) -> Timeouts {
        Timeouts { connect: self.connect_timeout, head: self.head_timeout, ..Timeouts::default() }
    }

    pub(crate) fn pool(&self) -> PoolOptions {
        PoolOptions { idle_timeout: self.backend_idle_timeout, ..PoolOptions::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid() {
        Config::default().validate().unwrap();
    }

    #[test]
    fn what_cannot_work_is_refused_by_name() {
        let refuse = |change: fn(&mut Config), key: &str| {
            let mut config = Config::default();
            change(&mut config);
            let error = config.validate().unwrap_err().to_string();
            assert!(error.starts_with(&format!("load_balancer.{key}:")), "{error}");
        };
        refuse(|config| config.backends = vec!["dns://127.0.0.1:1".to_owned()], "backends");
        refuse(|config| config.backends = vec!["127.0.0.1".to_owned()], "backends");
        refuse(|config| config.backends = vec!["a:1".to_owned(), "a:1".to_owned()], "backends");
        refuse(|config| config.head_timeout = Duration::ZERO, "head_timeout");
        refuse(|config| config.trusted_proxies = vec!["x".to_owned()], "trusted_proxies");
        refuse(|config| config.health.path = "health".to_owned(), "health.path");
        refuse(|config| config.health.fall = 0, "health.fall");
        refuse(|config| config.discovery.nameserver = "dns.internal".to_owned(), "discovery.nameserver");
        refuse(|config| config.discovery.longest_ttl = Duration::ZERO, "discovery.longest_ttl");
        refuse(|config| config.registration.shortest_lease = Duration::ZERO, "registration.shortest_lease");
    }
}
