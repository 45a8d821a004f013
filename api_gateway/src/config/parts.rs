//! The parts of the section `[api_gateway]`, each with its defaults.

use std::time::Duration;

use load_balancer::health;
use process::ConfigError;
use serde::{Deserialize, Serialize};

/// A rate a client may keep up, and what it may exceed it by at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateConfig {
    /// Requests a second.
    pub per_second: u32,
    /// Requests at once after a quiet time.
    pub burst: u32,
}

/// The section `[api_gateway.token]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TokenConfig {
    /// The issuer (`iss`) a token must name.
    pub issuer: String,
    /// The audience (`aud`) a token must be for.
    pub audience: String,
    /// The service that publishes the keys.
    pub jwks_service: String,
    /// The path of the keys there.
    pub jwks_path: String,
    /// How often the keys are fetched anew.
    #[serde(with = "process::duration")]
    pub refresh: Duration,
    /// The least time between two fetches that unknown keys ask for.
    #[serde(with = "process::duration")]
    pub refresh_at_most_every: Duration,
    /// How far the issuer's clock may be from ours.
    #[serde(with = "process::duration")]
    pub leeway: Duration,
    /// How many verified tokens each thread remembers.
    pub remembered: usize,
    /// Claims that services are told beside the name and the roles, for their rules (`$claims.NAME`).
    pub claims: Vec<String>,
}

impl Default for TokenConfig {
    fn default() -> Self {
        Self {
            issuer: "sixfold".to_owned(),
            audience: "sixfold".to_owned(),
            jwks_service: "accounts".to_owned(),
            jwks_path: "/.well-known/jwks.json".to_owned(),
            refresh: Duration::from_secs(300),
            refresh_at_most_every: Duration::from_secs(5),
            leeway: Duration::from_secs(5),
            remembered: 4096,
            claims: Vec::new(),
        }
    }
}

/// The section `[api_gateway.breaker]`; one breaker a service and thread.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BreakerConfig {
    /// Whether circuits open at all.
    pub enabled: bool,
    /// The share of failures within the window at which the circuit opens, 0 to 1.
    pub failure_rate: f64,
    /// The least requests within the window for the rate to count.
    pub minimum_requests: u32,
    /// The failures in a row at which the circuit opens whatever the rate; 0 is never.
    pub consecutive_failures: u32,
    /// How far back outcomes count.
    #[serde(with = "process::duration")]
    pub window: Duration,
    /// How long an open circuit stays open before it lets trials through.
    #[serde(with = "process::duration")]
    pub open_for: Duration,
    /// How many trials must succeed for the circuit to close; as many may be under way at once.
    pub trials: u32,
}

impl Default for BreakerConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            failure_rate: 0.5,
            minimum_requests: 20,
            consecutive_failures: 10,
            window: Duration::from_secs(10),
            open_for: Duration::from_secs(5),
            trials: 3,
        }
    }
}

/// The section `[api_gateway.probe]`: how instances of services are probed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProbeConfig {
    /// What a probe asks for; any answer below 500 is good. Empty: opening a connection is enough.
    pub path: String,
    /// The time between two probes of an instance.
    #[serde(with = "process::duration")]
    pub interval: Duration,
    /// How long an answer may take.
    #[serde(with = "process::duration")]
    pub timeout: Duration,
    /// So many good probes in a row bring an instance back.
    pub rise: u32,
    /// So many bad probes in a row put an instance out.
    pub fall: u32,
}

impl Default for ProbeConfig {
    fn default() -> Self {
        Self {
            path: "/health".to_owned(),
            interval: Duration::from_secs(2),
            timeout: Duration::from_secs(1),
            rise: 1,
            fall: 3,
        }
    }
}

impl From<&ProbeConfig> for health::Config {
    fn from(config: &ProbeConfig) -> Self {
        Self {
            path: config.path.clone(),
            interval: config.interval,
            timeout: config.timeout,
            rise: config.rise,
            fall: config.fall,
            ..Self::default()
        }
    }
}

/// Checks that a rate lets anything through.
pub(crate) fn check_rate(key: &str, rate: RateConfig) -> Result<(), ConfigError> {
    if rate.per_second == 0 || rate.burst == 0 {
        return Err(ConfigError::inconsistent(key, "per_second and burst must be at least 1"));
    }
    Ok(())
}
