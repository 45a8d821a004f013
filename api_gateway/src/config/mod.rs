//! The section `[api_gateway]` and every default in it.

mod parts;
mod route;

use std::collections::BTreeSet;
use std::time::Duration;

use load_balancer::health;
use process::config::nearest;
use process::identity::{CLAIM_LIMIT, CLAIMS_LIMIT};
use process::{ConfigError, Services};
use proxy::fields::TrustedProxies;
use serde::{Deserialize, Serialize};

pub(crate) use parts::{BreakerConfig, ProbeConfig, RateConfig, TokenConfig, check_rate};
pub(crate) use route::RouteConfig;

/// What a gateway is configured by: its own section, and the services its routes lead to.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// The section `[api_gateway]`.
    pub config: Config,
    /// The section `[services]`.
    pub services: Services,
}

/// The section `[api_gateway]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where gateways listen; `up` starts one for each address.
    pub listen: Vec<String>,
    /// Threads of one gateway, each with its own listener and its own connections to services.
    pub threads: usize,
    /// The largest request body, unless the route says otherwise.
    #[serde(with = "process::size")]
    pub body_limit: u64,
    /// The largest header section of a request; more is 431.
    #[serde(with = "process::size")]
    pub header_limit: u64,
    /// How long the header section of a request may take to arrive.
    #[serde(with = "process::duration")]
    pub header_timeout: Duration,
    /// How long a connection of a client may lie idle between two requests.
    #[serde(with = "process::duration")]
    pub idle_timeout: Duration,
    /// How long connecting to a service may take, unless the route says otherwise.
    #[serde(with = "process::duration")]
    pub connect_timeout: Duration,
    /// How long a service may take to send its response head, unless the route says otherwise.
    #[serde(with = "process::duration")]
    pub timeout: Duration,
    /// How many more instances are tried when a request fails and may be repeated.
    pub retries: u32,
    /// Requests a client may make: a user with a token, else an address (of IPv6 its /64).
    pub rate: RateConfig,
    /// How many clients' rates are remembered; beyond that those that have been quiet longest are forgotten.
    pub rate_clients: usize,
    /// Peers whose `X-Forwarded-For` is believed: addresses or networks such as `10.0.0.0/8`.
    pub trusted_proxies: Vec<String>,
    /// The admin addresses of load balancers to join by oneself, such as `http://balancer:8001`.
    pub register: Vec<String>,
    /// Where those balancers reach the gateway, with or without a port; without it, the address it listens at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advertise: Option<String>,
    /// How long a registration holds without a renewal; a killed gateway is taken out after it.
    #[serde(with = "process::duration")]
    pub register_lease: Duration,
    /// The gateway's weight among those of a balancer.
    pub register_weight: f64,
    /// Whether the routes to the services of the house are there beside those in `routes`.
    pub default_routes: bool,
    /// How tokens are checked.
    pub token: TokenConfig,
    /// When the circuit to a service opens and closes.
    pub breaker: BreakerConfig,
    /// How instances of services are probed.
    pub probe: ProbeConfig,
    /// Routes of one's own.
    pub routes: Vec<RouteConfig>,
}

impl Default for Config {
    fn default() -> Self {
        let listen = [5000, 5006, 5007, 5008, 5009].map(|port| format!("127.0.0.1:{port}"));
        Self {
            listen: listen.to_vec(),
            threads: 1,
            body_limit: 1 << 20,
            header_limit: 32 << 10,
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
            connect_timeout: Duration::from_secs(1),
            timeout: Duration::from_secs(30),
            retries: 2,
            rate: RateConfig { per_second: 1000, burst: 2000 },
            rate_clients: 16_384,
            trusted_proxies: vec!["127.0.0.0/8".to_owned(), "::1".to_owned()],
            register: Vec::new(),
            advertise: None,
            register_lease: Duration::from_secs(10),
            register_weight: 1.0,
            default_routes: true,
            token: TokenConfig::default(),
            breaker: BreakerConfig::default(),
            probe: ProbeConfig::default(),
            routes: Vec::new(),
        }
    }
}

impl Config {
    /// Checks what one key alone cannot show, such as a route to a service that is not there.
    pub fn validate(&self, services: &Services) -> Result<(), ConfigError> {
        let fault = |key: &str, message: &str| Err(ConfigError::inconsistent(key, message));
        if self.listen.is_empty() {
            return fault("api_gateway.listen", "at least one address is needed");
        }
        let mut seen = BTreeSet::new();
        if let Some(twice) = self.listen.iter().find(|address| !seen.insert(*address) && !ends_in_0(address))
        {
            return fault("api_gateway.listen", &format!("{twice} is listed twice"));
        }
        let claims = &self.token.claims;
        if claims.len() > CLAIMS_LIMIT || claims.iter().any(|claim| !(1..=CLAIM_LIMIT).contains(&claim.len()))
        {
            let message = format!("at most {CLAIMS_LIMIT} names of 1 to {CLAIM_LIMIT} bytes");
            return fault("api_gateway.token.claims", &message);
        }
        if self.threads == 0 {
            return fault("api_gateway.threads", "at least one thread is needed");
        }
        if self.header_limit < 8 << 10 {
            return fault("api_gateway.header_limit", "below 8KiB ordinary requests are refused");
        }
        check_rate("api_gateway.rate", self.rate)?;
        if self.rate_clients == 0 {
            return fault("api_gateway.rate_clients", "at least one client must be remembered");
        }
        if self.token.refresh.is_zero() || self.token.refresh_at_most_every.is_zero() {
            return fault("api_gateway.token.refresh", "it must be longer than nothing");
        }
        if !self.token.jwks_path.starts_with('/') {
            return fault("api_gateway.token.jwks_path", "a path starts with `/`");
        }
        let breaker = &self.breaker;
        if !(breaker.failure_rate > 0.0 && breaker.failure_rate <= 1.0) {
            return fault("api_gateway.breaker.failure_rate", "it lies above 0 and is at most 1");
        }
        if breaker.trials == 0 || breaker.window.is_zero() || breaker.open_for.is_zero() {
            return fault("api_gateway.breaker", "trials, window and open_for must be more than nothing");
        }
        crate::register::validate(self)?;
        health::Config::from(&self.probe).validate("api_gateway.probe")?;
        TrustedProxies::parse(&self.trusted_proxies)
            .map_err(|error| ConfigError::inconsistent("api_gateway.trusted_proxies", error.to_string()))?;
        crate::service::check_instances(services)?;
        crate::routes::RouteTable::build(self, services).map(drop)
    }

    /// Gives the routes that apply: one's own, and the built-in ones whose service is configured.
    pub(crate) fn effective_routes(&self, services: &Services) -> Vec<RouteConfig> {
        let mut routes = self.routes.clone();
        if self.default_routes {
            let present = |route: &RouteConfig| services.find(&route.service).is_some();
            routes.extend(route::built_in().into_iter().filter(present));
        }
        routes
    }
}

/// Says that a service is not configured, and which one may be meant.
pub(crate) fn unknown_service(key: &str, name: &str, services: &Services) -> ConfigError {
    let known: Vec<&str> = services.0.keys().map(String::as_str).collect();
    ConfigError::inconsistent(
        key,
        match nearest(name, known.iter().copied()) {
            Some(near) => format!("there is no service `{name}`; did you mean `{near}`?"),
            None => format!("there is no service `{name}`; [services] has: {}", known.join(", ")),
        },
    )
}

/// Port 0 asks for any port, so the same text may be meant twice.
fn ends_in_0(address: &str) -> bool {
    address.rsplit_once(':').is_some_and(|(_, port)| port == "0")
}

#[cfg(test)]
mod tests {
    use process::config::Sources;
    use process::services::Service;

    use super::*;

    fn message(text: &str) -> String {
        let config: Config = toml_like(text);
        config.validate(&Services::default()).unwrap_err().to_string()
    }

    fn toml_like(text: &str) -> Config {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn the_defaults_are_valid() {
        Config::default().validate(&Services::default()).unwrap();
    }

    #[test]
    fn the_defaults_read_back_as_written() {
        let text = serde_json::to_string(&Config::default()).unwrap();
        assert_eq!(toml_like(&text), Config::default());
    }

    #[test]
    fn an_unknown_service_names_the_nearest() {
        let text = message(r#"{"routes": [{"path": "/shop", "service": "catalogue"}]}"#);
        assert!(text.contains("did you mean `catalog`?"), "{text}");
        assert!(text.contains("/shop"), "{text}");
    }

    #[test]
    fn a_route_at_fault_is_told_with_its_file_and_line() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("sixfold.toml");
        std::fs::write(&file, "[[api_gateway.routes]]\n\n[[api_gateway.routes]]\n").unwrap();
        let sources = Sources { file: Some(file.clone()), ..Sources::default() };
        let config = toml_like(
            r#"{"routes": [{"path": "/a", "service": "orders"},
                           {"path": "/b", "service": "orders", "methods": ["get"]}]}"#,
        );
        let error = config.validate(&Services::default()).unwrap_err().placed(&sources).to_string();
        assert!(error.starts_with(&format!("{}:3: ", file.display())) && error.contains("/b"), "{error}");
    }

    #[test]
    fn a_duplicate_route_is_named() {
        let text = message(r#"{"routes": [{"path": "/orders/{*rest}", "service": "orders"}]}"#);
        assert!(text.contains("/orders/{*rest}") && text.contains("default_routes"), "{text}");
    }

    #[test]
    fn two_patterns_that_differ_in_a_name_only_are_refused() {
        let text = message(
            r#"{"routes": [{"path": "/a/{id}", "service": "orders"}, {"path": "/a/{name}", "service": "orders"}]}"#,
        );
        assert!(text.contains("/a/{"), "{text}");
    }

    #[test]
    fn without_accounts_only_public_routes_are_possible() {
        let config = toml_like(r#"{"routes": [{"path": "/mine/{*rest}", "service": "mine"}]}"#);
        let mine = Service { instances: vec!["127.0.0.1:1".into()], internal: false };
        let services = Services([("mine".to_owned(), mine)].into());
        let text = config.validate(&services).unwrap_err().to_string();
        assert!(text.contains("accounts") && text.contains("public"), "{text}");
        let config =
            toml_like(r#"{"routes": [{"path": "/mine/{*rest}", "service": "mine", "public": true}]}"#);
        config.validate(&services).unwrap();
    }

    #[test]
    fn an_instance_that_is_no_address_is_refused() {
        for address in ["http://127.0.0.1:1/", "127.0.0.1", "shop:", "shop:0", "0.0.0.0:80", ""] {
            let mine = Service { instances: vec!["127.0.0.1:1".into(), address.into()], internal: false };
            let services = Services([("mine".to_owned(), mine)].into());
            let text = Config::default().validate(&services).unwrap_err().to_string();
            assert!(text.starts_with("services.mine.instances: ") && text.contains(address), "{text}");
        }
    }

    #[test]
    fn settings_that_let_nothing_through_are_refused() {
        for (text, key) in [
            (r#"{"listen": []}"#, "listen"),
            (r#"{"listen": ["127.0.0.1:1", "127.0.0.1:1"]}"#, "listen"),
            (r#"{"threads": 0}"#, "threads"),
            (r#"{"rate": {"per_second": 0, "burst": 1}}"#, "rate"),
            (r#"{"trusted_proxies": ["ten"]}"#, "trusted_proxies"),
            (r#"{"register": ["https://lb:8001"]}"#, "register"),
            (r#"{"register": ["lb:8001"]}"#, "register"),
            (r#"{"register": ["http://lb:8001/v1"]}"#, "register"),
            (r#"{"register_lease": "10ms"}"#, "register_lease"),
            (r#"{"register_weight": 0.0}"#, "register_weight"),
            (r#"{"trusted_proxies": ["10.0.0.0/33"]}"#, "trusted_proxies"),
            (r#"{"breaker": {"failure_rate": 0.0}}"#, "failure_rate"),
            (r#"{"routes": [{"path": "shop", "service": "orders"}]}"#, "shop"),
            (r#"{"routes": [{"path": "/shop", "service": "orders", "methods": ["G T"]}]}"#, "G T"),
            (r#"{"routes": [{"path": "/shop", "service": "orders", "methods": ["post"]}]}"#, "mean `POST`"),
            (
                r#"{"routes": [{"path": "/shop", "service": "orders", "methods": ["Delete"]}]}"#,
                "mean `DELETE`",
            ),
            (
                r#"{"routes": [{"path": "/shop", "service": "orders", "host": "b.example:80"}]}"#,
                "`b.example`",
            ),
            (r#"{"routes": [{"path": "/shop", "service": "orders", "host": "b.example."}]}"#, "`b.example`"),
            (r#"{"routes": [{"path": "/%73hop", "service": "orders"}]}"#, "`/shop`"),
            (r#"{"routes": [{"path": "/caf%c3%a9", "service": "orders"}]}"#, "`/caf%C3%A9`"),
            (r#"{"routes": [{"path": "/café", "service": "orders"}]}"#, "percent-encoded"),
            (r#"{"routes": [{"path": "/100%", "service": "orders"}]}"#, "percent-encoded"),
            (
                r#"{"routes": [{"path": "/shop", "service": "orders", "public": true, "roles": ["a"]}]}"#,
                "roles",
            ),
        ] {
            let text = message(text);
            assert!(text.contains(key), "{key}: {text}");
        }
    }
}
