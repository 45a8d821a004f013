//! Who the backends are: from the file, from DNS, by registering themselves, and set at run time.
//!
//! A [`Directory`] holds what every source says and gives the cluster the list that follows
//! ([`merge`]). [`watch`] keeps it up to date: it asks DNS ([`dns`]) again when an answer's time to live is over,
//! remembers the last good answer ([`answer`]), and takes out whose lease ran out ([`registry`]). The
//! admin address ([`crate::admin`]) and a reload ([`crate::reload`]) change it too. All that happens on the
//! process's ordinary runtime; the data plane only sees the cluster's next list.

mod address;
mod answer;
mod directory;
mod dns;
mod membership;
mod merge;
pub(crate) mod registry;
mod saved;
mod source;
mod watch;

use std::time::Duration;

use process::{ConfigError, Weighted};
use serde::{Deserialize, Serialize};

pub use address::read as read_address;
pub(crate) use directory::{Directory, Leaving, MemberStanding, Refused};
pub(crate) use membership::Membership;
pub(crate) use merge::Override;
use source::{Listed, Source};

/// The section `[load_balancer.discovery]`: how names in `backends` are looked up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The name server to ask, as an address with or without a port; empty: those of `/etc/resolv.conf`.
    pub nameserver: String,
    /// How long one question to one name server may take.
    #[serde(with = "process::duration")]
    pub timeout: Duration,
    /// A name is not asked for more often than this, however short its answers hold.
    #[serde(with = "process::duration")]
    pub shortest_ttl: Duration,
    /// A name is asked for at least this often, however long its answers hold.
    #[serde(with = "process::duration")]
    pub longest_ttl: Duration,
    /// How long the backends of a name that has no address any more are kept.
    #[serde(with = "process::duration")]
    pub empty_grace: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            nameserver: String::new(),
            timeout: Duration::from_secs(2),
            shortest_ttl: Duration::from_secs(1),
            longest_ttl: Duration::from_secs(60),
            empty_grace: Duration::from_secs(30),
        }
    }
}

impl Config {
    /// Checks what serde cannot.
    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        let fault = |key: &str, message: &str| {
            Err(ConfigError::inconsistent(format!("load_balancer.discovery.{key}"), message))
        };
        if !self.nameserver.is_empty() && dns::read_nameserver(&self.nameserver).is_none() {
            return fault("nameserver", "it is not an address, with or without a port");
        }
        if self.timeout.is_zero() {
            return fault("timeout", "it must be longer than 0s");
        }
        if self.shortest_ttl.is_zero() {
            return fault("shortest_ttl", "it must be longer than 0s");
        }
        if self.longest_ttl < self.shortest_ttl {
            return fault("longest_ttl", "it is shorter than shortest_ttl");
        }
        Ok(())
    }
}

/// Checks the entries of `backends`; the text says what is wrong.
pub(crate) fn check_backends(backends: &[Weighted]) -> Result<(), String> {
    let mut seen: Vec<Source> = Vec::new();
    for entry in backends {
        let Listed { source, .. } = Listed::read(entry)?;
        if seen.contains(&source) {
            return Err(format!("`{}` is listed twice", entry.address));
        }
        seen.push(source);
    }
    Ok(())
}

/// Reads entries that were checked before.
fn read_sources(backends: &[Weighted]) -> Vec<Listed> {
    backends.iter().filter_map(|entry| Listed::read(entry).ok()).collect()
}
