//! The TLS part of a listener's section.

use std::path::{Path, PathBuf};
use std::time::Duration;

use process::ConfigError;
use serde::{Deserialize, Serialize};

use super::certificates::Certificates;

/// How a listener speaks TLS; without a certificate it does not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Certificates with their keys. A client gets the one that bears the host it names; the first is for
    /// clients that name none, or one nobody bears.
    pub certificates: Vec<CertificateFiles>,
    /// The oldest version spoken: `1.2` or `1.3`.
    pub min_version: Version,
    /// How long a client's handshake may take.
    #[serde(with = "process::duration")]
    pub handshake_timeout: Duration,
}

/// The files of one certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertificateFiles {
    /// A PEM file with the certificate and after it those that lead to an authority.
    pub cert: PathBuf,
    /// A PEM file with its private key.
    pub key: PathBuf,
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Version {
    /// TLS 1.2 (RFC 5246).
    #[default]
    #[serde(rename = "1.2")]
    Tls12,
    /// TLS 1.3 (RFC 8446).
    #[serde(rename = "1.3")]
    Tls13,
}

impl Default for Config {
    fn default() -> Self {
        // As long as a request's head may take; nginx allows 60 s, HAProxy what `timeout http-request` says.
        let handshake_timeout = Duration::from_secs(10);
        Self { certificates: Vec::new(), min_version: Version::default(), handshake_timeout }
    }
}

impl Config {
    /// Tells whether the listener speaks TLS.
    pub fn is_enabled(&self) -> bool {
        !self.certificates.is_empty()
    }

    /// Gives the files it names, for whoever watches them for changes.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.certificates.iter().flat_map(|files| [files.cert.as_path(), files.key.as_path()])
    }

    /// Checks what serde cannot, and reads the files; `section` names it in errors.
    pub fn validate(&self, section: &str) -> Result<(), ConfigError> {
        if self.handshake_timeout.is_zero() {
            let message = "it must be longer than 0s";
            return Err(ConfigError::inconsistent(format!("{section}.handshake_timeout"), message));
        }
        Certificates::load(&self.certificates, section).map(drop)
    }
}
