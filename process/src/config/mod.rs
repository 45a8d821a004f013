//! The sections `[process]` and `[cluster]`, and how every section is loaded.
//!
//! Each crate owns its section as a struct with `#[serde(default, deny_unknown_fields)]`; `cli` puts the
//! sections together and calls [`load()`].

mod load;
mod place;

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use load::{Sources, load, nearest};

use crate::Secret;

/// The section `[process]`: what holds for every role of a process.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where the data lies: database, keys, backups.
    pub data: PathBuf,
    /// How long a stopping process lets requests and jobs in flight finish.
    #[serde(with = "crate::duration")]
    pub grace: Duration,
    /// The least severe log line written: error, warn, info, debug, trace, or a tracing filter.
    pub log: String,
    /// Log lines as `human`, `json`, or `auto`: human on a terminal, JSON elsewhere.
    pub log_format: LogFormat,
    /// The admin address; without one, `up` and the load balancer use 127.0.0.1:8001, another role its port + 10000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admin: Option<String>,
    /// The folder of the Unix sockets at which a load balancer, a gateway or a service hands its listeners to
    /// the process that replaces it; only our user may write in it. Without one, nothing is handed over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub handover: Option<PathBuf>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data: PathBuf::from("data"),
            grace: Duration::from_secs(10),
            log: "info".to_owned(),
            log_format: LogFormat::Auto,
            admin: None,
            handover: None,
        }
    }
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Human on a terminal, JSON elsewhere.
    Auto,
    /// One aligned line for a reader.
    Human,
    /// One JSON object a line.
    Json,
}

/// The section `[cluster]`: what the processes of one house share.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Cluster {
    /// The token internal ports ask for; a role bound beyond loopback refuses to start without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<Secret>,
}

/// Why a configuration is refused; the text says what, where, and the nearest valid key.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{}: cannot be read: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file holds something that is not valid.
    #[error("{}:{line}: {message}", path.display())]
    InFile {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        message: String,
    },
    /// A variable of the environment or a flag is not valid.
    #[error("{name}: {message}")]
    InSetting {
        /// The variable or flag.
        name: String,
        /// What is wrong.
        message: String,
    },
    /// Settings that are each valid do not go together.
    #[error("{key}: {message}")]
    Inconsistent {
        /// The dotted key.
        key: String,
        /// What is wrong.
        message: String,
    },
}

impl ConfigError {
    /// Says that settings which are each valid do not go together.
    pub fn inconsistent(key: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Inconsistent { key: key.into(), message: message.into() }
    }
}
