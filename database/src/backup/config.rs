//! The section `[database.backup]`: where the log is shipped, how safe an answer is, and what is kept.

use std::path::PathBuf;
use std::time::Duration;

use process::{ConfigError, Secret};
use serde::{Deserialize, Serialize};

use super::keys::Keys;

/// The section `[database.backup]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where to: `file:/absolute/folder` or `s3://bucket/prefix`; without one nothing is shipped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination: Option<String>,
    /// Whether a write's answer waits until it is safe at the destination.
    pub mode: Mode,
    /// What happens to writes while the destination cannot be reached; `block` in mode `sync`, `continue`
    /// in mode `async`, without a word here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_unreachable: Option<OnUnreachable>,
    /// In mode `async`, how long commits are gathered into one segment.
    #[serde(with = "process::duration")]
    pub interval: Duration,
    /// How long one call to the destination may take; of PostgreSQL also how long the receiver may get nothing on.
    #[serde(with = "process::duration")]
    pub timeout: Duration,
    /// How much that was not shipped is held in memory; beyond it the log keeps it.
    #[serde(with = "process::size")]
    pub buffer: u64,
    /// How long the log may grow for what was not shipped.
    #[serde(with = "process::size")]
    pub log_limit: u64,
    /// How often a new base is stored.
    #[serde(with = "process::duration")]
    pub base_every: Duration,
    /// How often small segments are merged into one; zero: never.
    #[serde(with = "process::duration")]
    pub merge_every: Duration,
    /// How long back the database can be restored.
    #[serde(with = "process::duration")]
    pub keep: Duration,
    /// How long back every single commit can be restored; before that, what was merged.
    #[serde(with = "process::duration")]
    pub keep_commits: Duration,
    /// How often a restore is tried out; zero: never.
    #[serde(with = "process::duration")]
    pub drill_every: Duration,
    /// For whom files are encrypted: age recipients (`age1…`); without one they are not.
    pub recipients: Vec<String>,
    /// A file with the age identity that opens them again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity: Option<PathBuf>,
    /// How a bucket is reached.
    pub s3: S3,
    /// What only a PostgreSQL server's backup has.
    pub postgres: Postgres,
}

/// The section `[database.backup.postgres]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Postgres {
    /// The replication slot by which the server keeps what was not received; also the name its
    /// `synchronous_standby_names` must have in mode `sync`.
    pub slot: String,
    /// The folder with PostgreSQL's programs; without one they are looked for where packages put them, and in `PATH`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tools: Option<PathBuf>,
}

impl Default for Postgres {
    fn default() -> Self {
        Self { slot: "sixfold".to_owned(), tools: None }
    }
}

/// What is said of a bucket as the destination of a PostgreSQL server.
pub(super) const ONLY_FOLDERS: &str = "PostgreSQL is backed up to a folder, as in \"file:/var/backups/sixfold\": its programs write into nothing else; mount \
     a share there, or copy the folder to the bucket";

/// The section `[database.backup.s3]`; without keys here, credentials come from `AWS_ACCESS_KEY_ID` and its kin, or
/// the machine's own role.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct S3 {
    /// The service's URL, when it is not Amazon's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// The region.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// The access key's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_key_id: Option<String>,
    /// The access key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_access_key: Option<Secret>,
}

/// When a write is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Once it is safe on this machine; the destination follows within a second.
    Async,
    /// Once it is safe at the destination too.
    Sync,
}

/// What happens to writes while the destination cannot be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnUnreachable {
    /// They go on, safe on this machine alone.
    Continue,
    /// They are refused; in mode `async` once the buffer is full.
    Block,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            destination: None,
            mode: Mode::Async,
            on_unreachable: None,
            interval: Duration::from_millis(200),
            timeout: Duration::from_secs(10),
            buffer: 64 << 20,
            log_limit: 1 << 30,
            base_every: Duration::from_secs(24 * 3600),
            merge_every: Duration::from_secs(600),
            keep: Duration::from_secs(7 * 24 * 3600),
            keep_commits: Duration::from_secs(24 * 3600),
            drill_every: Duration::from_secs(24 * 3600),
            recipients: Vec::new(),
            identity: None,
            s3: S3::default(),
            postgres: Postgres::default(),
        }
    }
}

/// A destination as its URL names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    Folder(PathBuf),
    Bucket { bucket: String, prefix: String },
}

impl Config {
    /// Gives the policy that holds for this mode.
    pub(crate) fn on_unreachable(&self) -> OnUnreachable {
        self.on_unreachable.unwrap_or(match self.mode {
            Mode::Sync => OnUnreachable::Block,
            Mode::Async => OnUnreachable::Continue,
        })
    }

    /// Gives the destination, if there is one.
    pub(crate) fn place(&self) -> Result<Option<Place>, ConfigError> {
        let parsed = self
            .destination
            .as_deref()
            .map(|url| parse_place(url).map_err(|reason| fault("destination", reason)));
        parsed.transpose()
    }

    /// Reads the recipients and the identity file.
    pub(crate) fn keys(&self) -> Result<Keys, ConfigError> {
        Keys::read(&self.recipients, self.identity.as_deref()).map_err(|(key, reason)| fault(key, &reason))
    }

    /// Checks what serde cannot.
    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        self.place()?;
        // The identity is read by what opens files; other hosts need not have it.
        Keys::read(&self.recipients, None).map_err(|(key, reason)| fault(key, &reason))?;
        let second = Duration::from_secs(1);
        let checks = [
            ("interval", self.interval <= second, "it must be at most 1s: it is part of what may be lost"),
            ("timeout", !self.timeout.is_zero(), "it must not be zero"),
            ("base_every", self.base_every >= second, "it must be at least 1s"),
            ("buffer", self.buffer >= 1 << 20, "it must be at least 1MiB"),
            ("log_limit", self.log_limit >= self.buffer, "it must not be smaller than the buffer"),
            ("keep_commits", self.keep_commits <= self.keep, "it must not be longer than keep"),
        ];
        checks.into_iter().try_for_each(|(key, holds, message)| match holds {
            true => Ok(()),
            false => Err(fault(key, message)),
        })
    }

    /// Checks what a PostgreSQL server's backup cannot do.
    pub(crate) fn validate_postgres(&self) -> Result<(), ConfigError> {
        if self.destination.is_none() {
            return Ok(());
        }
        let is_slot = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        let slot = &self.postgres.slot;
        let is_folder = matches!(self.place()?, Some(Place::Folder(_)));
        let is_named = (1..=63).contains(&slot.len()) && slot.chars().all(is_slot);
        let is_waiting = self.mode == Mode::Sync && self.on_unreachable == Some(OnUnreachable::Continue);
        let checks = [
            ("destination", is_folder, ONLY_FOLDERS),
            (
                "recipients",
                self.recipients.is_empty(),
                "what PostgreSQL's programs write is not encrypted; use an encrypted file system",
            ),
            (
                "on_unreachable",
                !is_waiting,
                "in mode \"sync\" PostgreSQL's commits wait for the backup, so they cannot go on without it",
            ),
            ("postgres.slot", is_named, "a slot's name has lower-case letters, digits and `_`, 63 at most"),
        ];
        checks.into_iter().try_for_each(|(key, holds, message)| match holds {
            true => Ok(()),
            false => Err(fault(key, message)),
        })
    }
}

fn parse_place(url: &str) -> Result<Place, &'static str> {
    if let Some(path) = url.strip_prefix("file:") {
        let path = PathBuf::from(path.strip_prefix("//").unwrap_or(path));
        return match path.is_absolute() {
            true => Ok(Place::Folder(path)),
            false => Err("the folder must be absolute, as in \"file:/var/backups/sixfold\""),
        };
    }
    let rest = url.strip_prefix("s3://").ok_or("write \"file:/folder\" or \"s3://bucket/prefix\"")?;
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    match bucket.is_empty() {
        true => Err("the bucket is missing, as in \"s3://bucket/prefix\""),
        false => Ok(Place::Bucket { bucket: bucket.to_owned(), prefix: prefix.trim_matches('/').to_owned() }),
    }
}

fn fault(key: &str, message: &str) -> ConfigError {
    ConfigError::inconsistent(format!("database.backup.{key}"), message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_that_cannot_be_read_is_the_setting_that_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("identity");
        let config = Config { identity: Some(file.clone()), ..Config::default() };
        for content in [None, Some("nonsense")] {
            if let Some(content) = content {
                std::fs::write(&file, content).unwrap();
            }
            let text = config.keys().unwrap_err().to_string();
            assert!(text.contains("database.backup.identity"), "{text}");
        }
    }

    #[test]
    fn destinations_are_folders_or_buckets_and_nothing_else() {
        let folder = Place::Folder("/a/b".into());
        assert_eq!(parse_place("file:/a/b"), Ok(folder.clone()));
        assert_eq!(parse_place("file:///a/b"), Ok(folder));
        let bucket = Place::Bucket { bucket: "b".into(), prefix: "x/y".into() };
        assert_eq!(parse_place("s3://b/x/y/"), Ok(bucket));
        for url in ["file:relative", "s3://", "ftp://host", "/plain"] {
            assert!(parse_place(url).is_err(), "{url}");
        }
    }

    #[test]
    fn the_policy_follows_the_mode_unless_it_is_named() {
        let config = Config::default();
        config.validate().unwrap();
        assert_eq!(config.on_unreachable(), OnUnreachable::Continue);
        let sync = Config { mode: Mode::Sync, ..Config::default() };
        assert_eq!(sync.on_unreachable(), OnUnreachable::Block);
        let named = Config { on_unreachable: Some(OnUnreachable::Continue), ..sync };
        assert_eq!(named.on_unreachable(), OnUnreachable::Continue);
        let slow = Config { interval: Duration::from_secs(2), ..Config::default() };
        assert!(slow.validate().unwrap_err().to_string().starts_with("database.backup.interval"));
    }

    #[test]
    fn what_a_postgresql_server_s_backup_cannot_do_is_refused() {
        let folder = || Config { destination: Some("file:/backups".to_owned()), ..Config::default() };
        folder().validate_postgres().unwrap();
        let (slot, tools) = ("Not one".to_owned(), None);
        for (key, config) in [
            ("destination", Config { destination: Some("s3://bucket/x".to_owned()), ..Config::default() }),
            ("recipients", Config { recipients: vec!["age1x".to_owned()], ..folder() }),
            (
                "on_unreachable",
                Config { mode: Mode::Sync, on_unreachable: Some(OnUnreachable::Continue), ..folder() },
            ),
            ("postgres.slot", Config { postgres: Postgres { slot, tools }, ..folder() }),
        ] {
            let refused = config.validate_postgres().unwrap_err().to_string();
            assert!(refused.starts_with(&format!("database.backup.{key}")), "{refused}");
        }
    }
}
