//! Which backends are up: probes from a thread of their own, judged by rise and fall.

mod probe;
mod prober;
mod question;
mod state;

use std::time::Duration;

use process::ConfigError;
use serde::{Deserialize, Serialize};

pub use prober::probe;
pub use state::State;

/// The section `[load_balancer.health]`: how backends are probed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// What a probe asks for. Empty: opening a connection is enough.
    pub path: String,
    /// The `Host` it asks for; empty for the backend's address.
    pub host: String,
    /// Fields it sends besides, each as `Name: value`.
    pub fields: Vec<String>,
    /// Statuses that are good, as `200` or `200-299`.
    pub statuses: String,
    /// The time between two probes of a backend; a tenth of it is random.
    #[serde(with = "process::duration")]
    pub interval: Duration,
    /// How long a probe may take.
    #[serde(with = "process::duration")]
    pub timeout: Duration,
    /// So many good probes in a row bring a backend back.
    pub rise: u32,
    /// So many bad probes in a row put a backend out.
    pub fall: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            path: "/health".to_owned(),
            host: String::new(),
            fields: Vec::new(),
            // Somebody's own server may have nothing at the path, and answers.
            statuses: "100-499".to_owned(),
            interval: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            rise: 2,
            fall: 3,
        }
    }
}

impl Config {
    /// Checks what serde cannot; `section` is the dotted name for the message.
    pub fn validate(&self, section: &str) -> Result<(), ConfigError> {
        let fault = |key: &str, message: &str| ConfigError::inconsistent(format!("{section}.{key}"), message);
        if !self.path.is_empty() && !self.path.starts_with('/') {
            return Err(fault("path", "a path begins with /"));
        }
        if self.path.parse::<http::uri::PathAndQuery>().is_err() && !self.path.is_empty() {
            return Err(fault("path", "it is not a valid path"));
        }
        if let Err(question::Fault { key, message }) = question::Question::new(self) {
            return Err(fault(key, &message));
        }
        if self.interval.is_zero() {
            return Err(fault("interval", "it must be longer than 0s"));
        }
        if self.timeout.is_zero() {
            return Err(fault("timeout", "it must be longer than 0s"));
        }
        if self.rise == 0 || self.fall == 0 {
            return Err(fault(if self.rise == 0 { "rise" } else { "fall" }, "it must be at least 1"));
        }
        Ok(())
    }
}
