//! The section `[database]`: where the database role listens, what it stores in, and how much may wait.

use std::path::Path;
use std::time::Duration;

use process::ConfigError;
use serde::{Deserialize, Serialize};

use crate::{Retention, Url, backup};

/// The section `[database]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where the database role listens.
    pub listen: String,
    /// Where other roles find it, as `host:port`; where it listens, without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// What it stores in: `sqlite`, a file in the data directory, or `postgres://USER:PASSWORD@HOST:PORT/NAME`.
    pub url: Url,
    /// The most writes that may wait; one more is answered with 503.
    pub queue: usize,
    /// The most callers that share one commit.
    pub batch: usize,
    /// How many threads read.
    pub readers: usize,
    /// The most reads that may wait; one more is answered with 503.
    pub read_queue: usize,
    /// The largest body of a request.
    #[serde(with = "process::size")]
    pub body_limit: u64,
    /// How long the write-ahead log grows before it is written back into the database file; under a load that never
    /// pauses it grows to four times that. The longer, the fewer pages are written twice (`bench/results/records.md`).
    #[serde(with = "process::size")]
    pub checkpoint: u64,
    /// The longest pause before a job's second attempt; it doubles with every further one.
    #[serde(with = "process::duration")]
    pub backoff_base: Duration,
    /// The longest pause between two attempts of a job.
    #[serde(with = "process::duration")]
    pub backoff_limit: Duration,
    /// The section `[database.retention]`.
    pub retention: Retention,
    /// The section `[database.backup]`.
    pub backup: backup::Config,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:5002".to_owned(),
            address: None,
            url: Url::default(),
            queue: 1024,
            batch: 256,
            readers: 2,
            read_queue: 1024,
            body_limit: 16 << 20,
            checkpoint: 32 << 20,
            backoff_base: Duration::from_secs(1),
            backoff_limit: Duration::from_secs(15 * 60),
            retention: Retention::default(),
            backup: backup::Config::default(),
        }
    }
}

/// The smallest body limit: a record of the largest size, quoted, still enters.
const BODY_LIMIT_FLOOR: u64 = 64 << 10;

impl Config {
    /// Gives the address at which other roles find the database.
    pub fn address(&self) -> &str {
        self.address.as_deref().unwrap_or(&self.listen)
    }

    /// Gives the folder of SQLite's files: the one the URL names, or the data directory.
    pub fn folder<'a>(&'a self, data: &'a Path) -> &'a Path {
        match &self.url {
            Url::SqliteIn(folder) => folder,
            Url::Sqlite | Url::Postgres(_) => data,
        }
    }

    /// Checks what no single value shows.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let numbers = [
            ("queue", self.queue),
            ("batch", self.batch),
            ("readers", self.readers),
            ("read_queue", self.read_queue),
        ];
        for (key, number) in numbers {
            if number == 0 {
                return Err(fault(key, "it must be at least 1"));
            }
        }
        if self.body_limit < BODY_LIMIT_FLOOR {
            return Err(fault("body_limit", "it must be at least 64KiB"));
        }
        if self.checkpoint < 64 << 10 {
            return Err(fault("checkpoint", "it must be at least 64KiB"));
        }
        if self.backoff_base > self.backoff_limit {
            return Err(fault("backoff_base", "it must not be longer than backoff_limit"));
        }
        self.retention.validate()?;
        if self.url.is_postgres() {
            self.backup.validate_postgres()?;
        }
        self.backup.validate()
    }
}

fn fault(key: &str, message: &str) -> ConfigError {
    ConfigError::inconsistent(format!("database.{key}"), message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid_and_the_address_is_where_it_listens() {
        let config = Config::default();
        config.validate().unwrap();
        assert_eq!(config.address(), "127.0.0.1:5002");
    }

    #[test]
    fn an_unbounded_or_empty_queue_is_refused() {
        let config = Config { queue: 0, ..Config::default() };
        assert!(config.validate().unwrap_err().to_string().starts_with("database.queue"));
    }
}
