//! The section `[database]`: where the database role listens, what it stores in, and how much may wait.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use process::ConfigError;
use serde::{Deserialize, Serialize};

use crate::engine::sqlite::PAGE_CACHE;
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
    /// Standbys of the PostgreSQL server that answer reads whose caller allows staleness, each by a URL of its own.
    pub replicas: Vec<Url>,
    /// How far behind a standby may be and still answer, whatever staleness a caller allows.
    #[serde(with = "process::duration")]
    pub replica_lag: Duration,
    /// The most writes that may wait; one more is answered with 503.
    pub queue: usize,
    /// The most callers that share one commit.
    pub batch: usize,
    /// How many questions that walk one collection are answered at once; with SQLite one more thread reads what else there is.
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
    /// The most memory in which each reader and the writer keep pages of the database; what is not there is read from the
    /// file, mostly out of the system's own cache.
    #[serde(with = "process::size")]
    pub page_cache: u64,
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
            replicas: Vec::new(),
            replica_lag: Duration::from_secs(1),
            queue: 1024,
            batch: 256,
            readers: 2,
            read_queue: 1024,
            body_limit: 16 << 20,
            checkpoint: 32 << 20,
            page_cache: PAGE_CACHE,
            backoff_base: Duration::from_secs(1),
            backoff_limit: Duration::from_secs(15 * 60),
            retention: Retention::default(),
            backup: backup::Config::default(),
        }
    }
}

/// The smallest body limit: a record of the largest size, quoted, still enters.
const BODY_LIMIT_FLOOR: u64 = 64 << 10;

/// How large the cache of a connection may be: SQLite counts its KiB in 32 bits, and less
/// than a MiB is a slip of the unit.
const PAGE_CACHES: std::ops::RangeInclusive<u64> = 1 << 20..=64 << 30;

/// The most replicas; each is asked several times a second how far it is.
const REPLICA_LIMIT: usize = 16;

/// How far behind replicas may be allowed to be: less is what asking four times within it takes, more is what was sampled
/// of the primary and is kept in memory.
const REPLICA_LAG: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(3600);

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
        if !PAGE_CACHES.contains(&self.page_cache) {
            return Err(fault("page_cache", "it must be 1MiB to 64GiB"));
        }
        if self.backoff_base > self.backoff_limit {
            return Err(fault("backoff_base", "it must not be longer than backoff_limit"));
        }
        self.validate_replicas()?;
        self.retention.validate()?;
        if self.url.is_postgres() {
            self.backup.validate_postgres()?;
        }
        self.backup.validate()
    }

    /// Checks that each replica can be one: how far it is behind is measured for one server of this database.
    fn validate_replicas(&self) -> Result<(), ConfigError> {
        if !REPLICA_LAG.contains(&self.replica_lag) {
            return Err(fault("replica_lag", "it must be from 100ms to 1h"));
        }
        let refuse = |reason: &str| Err(fault("replicas", reason));
        if self.replicas.is_empty() {
            return Ok(());
        }
        let Some(primary) = self.url.place() else {
            return refuse("database.url is no PostgreSQL server, which alone has replicas");
        };
        if self.replicas.len() > REPLICA_LIMIT {
            return refuse(&format!("there are more than {REPLICA_LIMIT}"));
        }
        let mut known = BTreeSet::new();
        for replica in &self.replicas {
            let Some(place) = replica.place() else {
                return refuse(&format!("`{replica}` is no PostgreSQL server"));
            };
            let [server] = place.servers.as_slice() else {
                return refuse(&format!("`{replica}` must be one server: write each by a URL of its own"));
            };
            if primary.servers == place.servers {
                return refuse(&format!("{server} is database.url's own"));
            }
            if primary.database != place.database {
                let (its, own) = (&place.database, &primary.database);
                return refuse(&format!(
                    "{server} is asked for the database `{its}`, the primary for `{own}`"
                ));
            }
            if !known.insert(server.clone()) {
                return refuse(&format!("{server} is there twice"));
            }
        }
        Ok(())
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

    #[test]
    fn a_page_cache_without_its_unit_is_refused() {
        let cached = |page_cache| Config { page_cache, ..Config::default() }.validate();
        cached(256 << 20).unwrap();
        for bytes in [256, 65 << 30] {
            let text = cached(bytes).unwrap_err().to_string();
            assert!(text.starts_with("database.page_cache: "), "{text}");
        }
    }

    #[test]
    fn replicas_that_cannot_be_any_are_refused_by_name() {
        let refusal = |url: &str, replicas: &[&str]| {
            let replicas = replicas.iter().map(|replica| replica.parse().unwrap()).collect();
            Config { url: url.parse().unwrap(), replicas, ..Config::default() }.validate()
        };
        let primary = "postgres://ann:hunter2@db/shop";
        refusal(primary, &["postgres://reader@standby/shop", "postgres://standby:5433/shop"]).unwrap();
        // A pair of servers of which either may be the primary, and one of them.
        refusal("postgres://a,b/shop", &["postgres://a/shop", "postgres://b/shop"]).unwrap();
        for (url, replicas, reason) in [
            ("sqlite", vec!["postgres://standby/shop"], "no PostgreSQL server"),
            (primary, vec!["sqlite"], "`sqlite` is no PostgreSQL server"),
            (primary, vec!["postgres://a,b/shop"], "one server"),
            (primary, vec!["postgres://bob@db:5432/shop"], "database.url's own"),
            (primary, vec!["postgres://standby/other"], "the database `other`"),
            (primary, vec!["postgres://standby/shop", "postgres://standby:5432/shop"], "twice"),
            (primary, vec!["postgres://standby/shop"; 17], "more than 16"),
        ] {
            let text = refusal(url, &replicas).unwrap_err().to_string();
            assert!(text.starts_with("database.replicas: ") && text.contains(reason), "{text}");
            assert!(!text.contains("hunter2"), "{text}");
        }
        for lag in [Duration::ZERO, Duration::from_millis(99), Duration::from_secs(3601)] {
            let config = Config { replica_lag: lag, ..Config::default() };
            assert!(config.validate().unwrap_err().to_string().starts_with("database.replica_lag: "));
        }
    }
}
