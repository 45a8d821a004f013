//! The section `[load_balancer.access_log]`.

use std::path::PathBuf;

use process::ConfigError;
use serde::{Deserialize, Serialize};

/// The section `[load_balancer.access_log]`: which requests are logged, and where to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Which requests: `off`, `sampled` or `all`.
    pub mode: Mode,
    /// The share of requests logged when sampled, 0 to 1; server errors are always logged then.
    pub sample: f64,
    /// The file lines are appended to; empty is standard output. It is opened anew on a reload.
    pub path: PathBuf,
}

/// Which requests are logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// None.
    #[default]
    Off,
    /// A share of them, and every one answered with 500 to 599.
    Sampled,
    /// Every one.
    All,
}

impl Default for Config {
    fn default() -> Self {
        Self { mode: Mode::Off, sample: 0.01, path: PathBuf::new() }
    }
}

impl Config {
    /// Checks what serde cannot.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if (0.0..=1.0).contains(&self.sample) {
            return Ok(());
        }
        Err(ConfigError::inconsistent("load_balancer.access_log.sample", "it must be between 0 and 1"))
    }

    /// Tells whether any request is logged.
    pub(crate) fn is_on(&self) -> bool {
        self.mode != Mode::Off
    }

    /// Tells whether a request is logged; `chance` is random, 0 to 1.
    pub(crate) fn wants(&self, status: u16, chance: impl FnOnce() -> f64) -> bool {
        match self.mode {
            Mode::Off => false,
            Mode::All => true,
            Mode::Sampled => status >= 500 || chance() < self.sample,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_holds_its_share_and_every_server_error() {
        let config = Config { mode: Mode::Sampled, sample: 0.25, ..Config::default() };
        assert!(config.wants(200, || 0.24) && !config.wants(200, || 0.25));
        assert!(config.wants(503, || 0.99));
        let off = Config { mode: Mode::Off, ..config };
        assert!(!off.wants(503, || 0.0));
    }
}
