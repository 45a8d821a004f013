//! The section `[worker]`.

use std::time::Duration;

use database::limits::{CLAIM_LIMIT, CLAIM_QUEUES, LEASE_LIMIT_MS, NAME_LIMIT, is_name};
use process::ConfigError;
use serde::{Deserialize, Serialize};

/// The shortest lease: a heartbeat every third of it must get through a busy database.
const SHORTEST_LEASE: Duration = Duration::from_millis(300);

/// Where the queue API listens and how jobs are run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The address of the queue API.
    pub listen: String,
    /// The queues whose jobs this worker runs; none makes it a queue API only. Other queues are for
    /// workers outside, which lease jobs over HTTP.
    pub queues: Vec<String>,
    /// The most jobs at a time.
    pub concurrency: u32,
    /// How long a claimed job is ours without a heartbeat; a job of a dead worker waits this long.
    #[serde(with = "process::duration")]
    pub lease: Duration,
    /// How long an attempt may take, for kinds that have no limit of their own.
    #[serde(with = "process::duration")]
    pub attempt_timeout: Duration,
    /// Namespaces whose records no job reads or changes.
    pub closed_namespaces: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:5005".to_owned(),
            queues: ["default", "orders", "reports"].map(str::to_owned).to_vec(),
            concurrency: 8,
            lease: Duration::from_secs(30),
            attempt_timeout: Duration::from_secs(300),
            // Password hashes and refresh tokens: a report could group by them.
            closed_namespaces: vec!["accounts".to_owned()],
        }
    }
}

impl Config {
    /// Checks what no single value can show.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if self.concurrency == 0 && !self.queues.is_empty() {
            return Err(ConfigError::inconsistent(
                "worker.concurrency",
                "0 runs no job; leave `queues` empty for a queue API only",
            ));
        }
        if self.concurrency > CLAIM_LIMIT {
            let message = format!("a worker runs at most {CLAIM_LIMIT} jobs at a time");
            return Err(ConfigError::inconsistent("worker.concurrency", message));
        }
        if !(SHORTEST_LEASE..=Duration::from_millis(LEASE_LIMIT_MS)).contains(&self.lease) {
            return Err(ConfigError::inconsistent("worker.lease", "a lease is 300ms to 1d"));
        }
        if self.attempt_timeout.is_zero() {
            return Err(ConfigError::inconsistent("worker.attempt_timeout", "an attempt needs some time"));
        }
        if self.queues.len() > CLAIM_QUEUES {
            let message = format!("a worker serves at most {CLAIM_QUEUES} queues");
            return Err(ConfigError::inconsistent("worker.queues", message));
        }
        if let Some(queue) = self.queues.iter().find(|queue| !is_name(queue)) {
            return Err(ConfigError::inconsistent(
                "worker.queues",
                format!(
                    "`{queue}` is not a queue's name: 1 to {NAME_LIMIT} letters, digits, `.`, `_` and `-`"
                ),
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid_and_nonsense_is_not() {
        assert!(Config::default().validate().is_ok());
        let no_places = Config { concurrency: 0, ..Config::default() };
        assert!(no_places.validate().is_err());
        let api_only = Config { queues: Vec::new(), concurrency: 0, ..Config::default() };
        assert!(api_only.validate().is_ok());
        let bad_queue = Config { queues: vec!["a queue".into()], ..Config::default() };
        assert!(bad_queue.validate().unwrap_err().to_string().contains("`a queue`"));
        let short = Config { lease: Duration::from_millis(10), ..Config::default() };
        assert!(short.validate().is_err());
    }

    #[test]
    fn what_the_database_would_refuse_of_a_claim_is_refused_at_once() {
        let queues = |names: Vec<String>| Config { queues: names, ..Config::default() };
        assert!(queues(vec!["x".repeat(NAME_LIMIT)]).validate().is_ok());
        let refused = [
            queues(vec!["x".repeat(NAME_LIMIT + 1)]),
            queues((0..=CLAIM_QUEUES).map(|number| format!("queue-{number}")).collect()),
            Config { concurrency: CLAIM_LIMIT + 1, ..Config::default() },
            Config { lease: Duration::from_millis(LEASE_LIMIT_MS + 1), ..Config::default() },
        ];
        for config in refused {
            assert!(config.validate().is_err(), "{config:?}");
        }
    }
}
