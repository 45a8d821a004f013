//! The section `[load_balancer]`.

mod parts;

use std::path::PathBuf;
use std::time::Duration;

use process::{ConfigError, Secret, Weighted};
use proxy::connect::Protocol;
use proxy::fields::TrustedProxies;
use proxy::pool::PoolOptions;
use proxy::server::Limits;
use proxy::{Timeouts, tls, wire};
use serde::{Deserialize, Serialize};

use crate::cluster::{PANIC_THRESHOLD, SLOW_START};
use crate::discovery::{self, registry};
use crate::dispatch::hedge;
use crate::explain::Explain;
use crate::{Policy, access_log, ejection, health, limit};

pub(crate) use parts::TLS;

/// A head of this size every client may expect to be taken (RFC 9112 §3 asks it of the target alone).
const LEAST_HEADER_SIZE: u64 = 8 << 10;

/// The least bytes of a secret that signs: half of what RFC 2104 §3 advises for HMAC-SHA256, for it may be of random
/// bytes or of a passphrase.
const LEAST_SECRET: usize = 16;

/// The section `[load_balancer]`: where it listens and what it balances over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The address clients connect to.
    pub listen: String,
    /// Threads of the data plane; 0 means one a core.
    pub threads: usize,
    /// The backends, as `host:port`, `dns://host:port` or `srv://name`, each with its weight; none where all
    /// register themselves.
    pub backends: Vec<Weighted>,
    /// How a backend is chosen: `latency` and the others of docs/policies.md.
    pub policy: Policy,
    /// With a policy that hashes: how much more than its part of the requests in flight a backend gets before its
    /// keys go elsewhere, as a factor above 1; 0 sets no bound.
    pub hash_balance_factor: f64,
    /// What signs the cookies of the policy `sticky_cookie`; balancers beside each other share it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sticky_secret: Option<Secret>,
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
    /// How long a body may stand still, from the client or to it.
    #[serde(with = "process::duration")]
    pub body_idle_timeout: Duration,
    /// How long a WebSocket or another tunnel may carry nothing; 0s means no limit.
    #[serde(with = "process::duration")]
    pub tunnel_timeout: Duration,
    /// How long a whole exchange may take; 0s means no limit.
    #[serde(with = "process::duration")]
    pub total_timeout: Duration,
    /// Connections of one client address at a time; more are closed. 0 means no limit.
    pub max_connections_per_address: usize,
    /// The size of a request's or a response's head.
    #[serde(with = "process::size")]
    pub max_header_size: u64,
    /// Fields of a request or a response.
    pub max_fields: usize,
    /// Requests at a time on a client's HTTP/2 connection.
    pub max_streams: u32,
    /// Whether clients come with a PROXY header (version 1 or 2); only `trusted_proxies` may then connect.
    pub proxy_protocol: bool,
    /// Whether `Forwarded` (RFC 7239) is written beside `X-Forwarded-*`.
    pub forwarded: bool,
    /// What is spoken with backends: `http1` or `h2`.
    pub protocol: Protocol,
    /// Whether connections to backends begin with a PROXY header (version 2); they are then not shared
    /// between clients.
    pub backend_proxy_protocol: bool,
    /// When a smaller share of backends than this is well, all are used but those that are surely dead.
    pub panic_threshold: f64,
    /// Over this time a backend that is new or back comes to its full share.
    #[serde(with = "process::duration")]
    pub slow_start: Duration,
    /// Whether responses say where the time went (`Server-Timing`).
    pub server_timing: bool,
    /// Who is told why a request went where it went (`Sixfold-Explain`): `off`, `asked` or `always`.
    pub explain: Explain,
    /// How backends are probed.
    pub health: health::Config,
    /// When requests put a backend out.
    pub ejection: ejection::Config,
    /// How many requests are worked on at a time, and what waits.
    pub limit: limit::Config,
    /// When a request is sent to a second backend as well.
    pub hedge: hedge::Config,
    /// How clients shake hands; without a certificate they come in the clear.
    pub tls: tls::Config,
    /// How backends are verified, if they are under TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backend_tls: Option<tls::Backend>,
    /// How names in `backends` are looked up.
    pub discovery: discovery::Config,
    /// What backends that register themselves may ask for.
    pub registration: registry::Config,
    /// Which requests are logged.
    pub access_log: access_log::Config,
}

impl Default for Config {
    fn default() -> Self {
        let limits = Limits::default();
        let timeouts = Timeouts::default();
        Self {
            listen: "127.0.0.1:8000".to_owned(),
            threads: 0,
            backends: [5000, 5006, 5007, 5008, 5009].map(|port| format!("127.0.0.1:{port}").into()).to_vec(),
            policy: Policy::default(),
            hash_balance_factor: 0.0,
            sticky_secret: None,
            retries: 2,
            max_connections: limits.connections,
            trusted_proxies: Vec::new(),
            connect_timeout: timeouts.connect,
            head_timeout: timeouts.head,
            header_timeout: limits.header_timeout,
            idle_timeout: limits.idle_timeout,
            backend_idle_timeout: PoolOptions::default().idle_timeout,
            state: None,
            body_idle_timeout: limits.body_idle_timeout,
            tunnel_timeout: Duration::ZERO,
            total_timeout: Duration::ZERO,
            max_connections_per_address: limits.connections_per_address,
            max_header_size: limits.max_header_size as u64,
            max_fields: wire::Limits::default().fields,
            max_streams: limits.max_streams,
            proxy_protocol: false,
            forwarded: false,
            protocol: Protocol::default(),
            backend_proxy_protocol: false,
            panic_threshold: PANIC_THRESHOLD,
            slow_start: SLOW_START,
            server_timing: true,
            explain: Explain::default(),
            health: health::Config::default(),
            ejection: ejection::Config::default(),
            limit: limit::Config::default(),
            hedge: hedge::Config::default(),
            tls: tls::Config::default(),
            backend_tls: None,
            discovery: discovery::Config::default(),
            registration: registry::Config::default(),
            access_log: access_log::Config::default(),
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
            ("body_idle_timeout", self.body_idle_timeout),
        ];
        for (key, duration) in durations {
            if duration.is_zero() {
                return Err(fault(key, "it must be longer than 0s".to_owned()));
            }
        }
        TrustedProxies::parse(&self.trusted_proxies)
            .map_err(|error| fault("trusted_proxies", error.to_string()))?;
        self.check_shares(fault)?;
        self.health.validate("load_balancer.health")?;
        self.ejection.validate("load_balancer.ejection")?;
        self.limit.validate("load_balancer.limit")?;
        self.hedge.validate("load_balancer.hedge")?;
        self.tls.validate("load_balancer.tls")?;
        self.backend_tls.iter().try_for_each(|tls| tls.validate("load_balancer.backend_tls"))?;
        self.discovery.validate()?;
        self.registration.validate()?;
        self.access_log.validate()
    }

    fn check_shares(&self, fault: impl Fn(&str, String) -> ConfigError) -> Result<(), ConfigError> {
        if !(0.0..=1.0).contains(&self.panic_threshold) {
            return Err(fault("panic_threshold", "it must be between 0 and 1".to_owned()));
        }
        let factor = self.hash_balance_factor;
        if factor != 0.0 && !(factor > 1.0 && factor.is_finite()) {
            let message = "it must be more than 1, such as 1.25, or 0 for no bound";
            return Err(fault("hash_balance_factor", message.to_owned()));
        }
        if self.max_header_size < LEAST_HEADER_SIZE {
            return Err(fault("max_header_size", "it must be at least 8KiB".to_owned()));
        }
        if self.max_fields == 0 || self.max_streams == 0 {
            let key = if self.max_fields == 0 { "max_fields" } else { "max_streams" };
            return Err(fault(key, "it must be at least 1".to_owned()));
        }
        if matches!(self.policy, Policy::StickyCookie { .. }) && self.sticky_secret.is_none() {
            let message = "the policy sticky_cookie needs one; set SIXFOLD__LOAD_BALANCER__STICKY_SECRET";
            return Err(fault("sticky_secret", message.to_owned()));
        }
        if self.sticky_secret.as_ref().is_some_and(|secret| secret.expose().len() < LEAST_SECRET) {
            let message = format!("it must have at least {LEAST_SECRET} bytes, or it can be guessed");
            return Err(fault("sticky_secret", message));
        }
        if let Policy::StickyCookie { cookie } = &self.policy
            && http::HeaderName::try_from(cookie.as_str()).is_err()
        {
            // A cookie's name is a token (RFC 6265 §4.1.1), as a field's is.
            return Err(fault("policy", format!("`{cookie}` cannot be a cookie's name")));
        }
        if self.proxy_protocol && self.trusted_proxies.is_empty() {
            let message = "nobody may connect: PROXY headers are believed of trusted_proxies alone";
            return Err(fault("proxy_protocol", message.to_owned()));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid() {
        Config::default().validate().unwrap();
    }

    fn heavy(address: &str) -> Weighted {
        Weighted { address: address.to_owned(), weight: 2.0 }
    }

    #[test]
    fn what_cannot_work_is_refused_by_name() {
        let refuse = |change: fn(&mut Config), key: &str| {
            let mut config = Config::default();
            change(&mut config);
            let error = config.validate().unwrap_err().to_string();
            assert!(error.starts_with(&format!("load_balancer.{key}")), "{error}");
        };
        refuse(|config| config.backends = vec!["dns://127.0.0.1:1".into()], "backends");
        refuse(|config| config.backends = vec!["127.0.0.1".into()], "backends");
        refuse(|config| config.backends = vec!["a:1".into(), "a:1".into()], "backends");
        refuse(|config| config.backends = vec!["a:1".into(), heavy("a:1")], "backends");
        refuse(|config| config.backends = vec![heavy("srv://_http._tcp.a")], "backends");
        refuse(|config| config.head_timeout = Duration::ZERO, "head_timeout");
        refuse(|config| config.hash_balance_factor = 1.0, "hash_balance_factor");
        refuse(|config| config.hash_balance_factor = f64::NAN, "hash_balance_factor");
        refuse(|config| config.trusted_proxies = vec!["x".to_owned()], "trusted_proxies");
        refuse(|config| config.health.path = "health".to_owned(), "health.path");
        refuse(|config| config.health.fall = 0, "health.fall");
        refuse(|config| config.health.statuses = "299-200".to_owned(), "health.statuses: `299-200`");
        refuse(|config| config.health.fields = vec!["none".to_owned()], "health.fields: `none`");
        refuse(|config| config.health.host = "a\nb".to_owned(), "health.host");
        refuse(|config| config.sticky_secret = Some(Secret::new("short")), "sticky_secret");
        refuse(|config| config.discovery.nameserver = "dns.internal".to_owned(), "discovery.nameserver");
        refuse(|config| config.discovery.longest_ttl = Duration::ZERO, "discovery.longest_ttl");
        refuse(|config| config.registration.shortest_lease = Duration::ZERO, "registration.shortest_lease");
    }
}
