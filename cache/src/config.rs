//! The section `[cache]`.

use std::time::Duration;

use process::ConfigError;
use serde::{Deserialize, Serialize};

/// How the cache server listens and what it may hold, and which cache the other tiers use.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where the server answers HTTP.
    pub listen: String,
    /// Where the server answers RESP, the protocol of Redis.
    pub resp_listen: String,
    /// The cache the other tiers use; empty: our own server at `resp_listen`. `redis://host:port[/db]` is a Redis or
    /// Valkey, `sixfold://host:port` our own server on another host, which is shown the cluster token.
    pub url: String,
    /// The user of a `redis://` cache, where it has users.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// The password of a `redis://` cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<process::Secret>,
    /// The most bytes of keys, values and what keeping them takes.
    #[serde(with = "process::size")]
    pub memory: u64,
    /// The largest value.
    #[serde(with = "process::size")]
    pub max_value: u64,
    /// The most RESP connections at a time; further ones are refused.
    pub max_connections: usize,
    /// How long a RESP connection may say nothing before it is closed.
    #[serde(with = "process::duration")]
    pub idle_timeout: Duration,
    /// How long another tier waits for the cache before it goes on without.
    #[serde(with = "process::duration")]
    pub timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:5004".to_owned(),
            resp_listen: "127.0.0.1:6380".to_owned(),
            url: String::new(),
            username: None,
            password: None,
            memory: 256 << 20,
            max_value: 8 << 20,
            max_connections: 4096,
            idle_timeout: Duration::from_secs(600),
            timeout: Duration::from_millis(100),
        }
    }
}

/// Which cache the other tiers use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Upstream {
    /// A server of ours at `host:port`; it is shown the cluster token.
    Sixfold(String),
    /// A Redis or Valkey at a URL without its password.
    Redis(String),
}

impl Config {
    /// Tells whether the other tiers use another cache than our own server, which then need not be started.
    pub fn is_external(&self) -> bool {
        !self.url.is_empty() && self.url != format!("redis://{}", self.resp_listen)
    }

    /// Gives the address our own server answers HTTP at, its health among it.
    pub fn http_address(&self) -> &str {
        &self.listen
    }

    /// Finds the cache the other tiers use.
    pub(crate) fn upstream(&self) -> Upstream {
        if let Some(address) = self.url.strip_prefix("sixfold://") {
            return Upstream::Sixfold(address.trim_end_matches('/').to_owned());
        }
        if self.is_external() {
            return Upstream::Redis(self.url.clone());
        }
        // A server that listens everywhere is reached here.
        let own = &self.resp_listen;
        let reached = match own.strip_prefix("0.0.0.0:").or_else(|| own.strip_prefix("[::]:")) {
            Some(port) => format!("127.0.0.1:{port}"),
            None => own.clone(),
        };
        Upstream::Sixfold(reached)
    }

    /// Checks what the types cannot.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let fault = ConfigError::inconsistent;
        if self.max_value == 0 || self.max_value > self.memory / 2 {
            return Err(fault("cache.max_value", "must be from 1B to half of cache.memory"));
        }
        if self.max_value > 512 << 20 {
            return Err(fault("cache.max_value", "must be at most 512MiB, as in Redis"));
        }
        if self.max_connections == 0 {
            return Err(fault("cache.max_connections", "must be at least 1"));
        }
        if self.timeout.is_zero() || self.timeout > crate::handle::FILL_BOUND / 4 {
            return Err(fault("cache.timeout", "must be from 1ms to 500ms"));
        }
        if self.idle_timeout < Duration::from_secs(1) {
            return Err(fault("cache.idle_timeout", "must be at least 1s"));
        }
        self.validate_url()
    }

    fn validate_url(&self) -> Result<(), ConfigError> {
        let fault = |reason: &str| Err(ConfigError::inconsistent("cache.url", reason));
        let Some((scheme, rest)) = self.url.split_once("://") else {
            return match self.url.is_empty() {
                true => Ok(()),
                false => fault("write redis://host:port or sixfold://host:port"),
            };
        };
        if scheme != "redis" && scheme != "sixfold" {
            return fault("only redis:// and sixfold:// are known");
        }
        if rest.contains('@') {
            return fault(
                "it is printed, so the user and password go into cache.username and cache.password",
            );
        }
        match redis::parse_redis_url(&format!("redis://{rest}")) {
            Some(url) if url.host().is_some() => Ok(()),
            _ => fault("it names no host"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_url(url: &str) -> Config {
        Config { url: url.to_owned(), ..Config::default() }
    }

    #[test]
    fn the_defaults_are_valid_and_mean_our_own_server() {
        let config = Config::default();
        config.validate().unwrap();
        assert!(!config.is_external() && !with_url("redis://127.0.0.1:6380").is_external());
        assert_eq!(config.upstream(), Upstream::Sixfold("127.0.0.1:6380".into()));
        let everywhere = Config { resp_listen: "0.0.0.0:7000".into(), ..config };
        assert_eq!(everywhere.upstream(), Upstream::Sixfold("127.0.0.1:7000".into()));
    }

    #[test]
    fn only_a_cache_of_ours_is_shown_the_cluster_token() {
        assert_eq!(with_url("redis://valkey:6379").upstream(), Upstream::Redis("redis://valkey:6379".into()));
        assert_eq!(with_url("sixfold://cache:6380").upstream(), Upstream::Sixfold("cache:6380".into()));
        assert!(with_url("sixfold://cache:6380").is_external());
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for url in ["valkey:6379", "http://valkey", "redis://user:password@valkey", "redis://"] {
            assert!(with_url(url).validate().is_err(), "{url}");
        }
        let config = Config { max_value: 200 << 20, ..Config::default() };
        assert!(config.validate().unwrap_err().to_string().contains("cache.max_value"));
        let config = Config { timeout: Duration::from_secs(1), ..Config::default() };
        assert!(config.validate().is_err());
    }
}
