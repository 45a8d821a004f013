//! Connections to backends under TLS: whom to trust, and who we are.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use process::ConfigError;
use serde::{Deserialize, Serialize};
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::connect::{Protocol, Secured};

/// Sessions remembered for resumption, over all backends that share the settings.
const SESSIONS: usize = 1024;

/// How backends under TLS are verified. There is no switch that turns verification off: a backend with a
/// certificate of its own making is named in `ca`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Backend {
    /// A PEM file with the authorities to trust; without one, those of this machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// The name certificates must bear; without one, the host of each backend's address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
    /// A PEM file with the certificate shown to backends that ask for one, and its chain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert: Option<PathBuf>,
    /// A PEM file with that certificate's key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
}

impl Backend {
    /// Gives the files it names, for whoever watches them for changes.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        [&self.ca, &self.cert, &self.key].into_iter().flatten().map(PathBuf::as_path)
    }

    /// Checks what serde cannot, and reads the files; `section` names it in errors.
    pub fn validate(&self, section: &str) -> Result<(), ConfigError> {
        if let Some(name) = &self.server_name {
            ServerName::try_from(name.as_str()).map_err(|_| {
                let message = format!("`{name}` is neither a host name nor an IP address");
                ConfigError::inconsistent(format!("{section}.server_name"), message)
            })?;
        }
        client_config(self, Protocol::Http1, section).map(drop)
    }

    /// Gives what connections to the backend at `host` need; make the configuration once
    /// ([`client_config`]) and share it. `None` if no name can be verified.
    pub fn secure(&self, config: &Arc<ClientConfig>, host: &str) -> Option<Secured> {
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let name = self.server_name.as_deref().unwrap_or(host);
        let server_name = ServerName::try_from(name.to_owned()).ok()?;
        Some(Secured { config: Arc::clone(config), server_name })
    }
}

/// Reads the files and makes the configuration all connections share; `section` names it in errors.
pub fn client_config(
    settings: &Backend,
    protocol: Protocol,
    section: &str,
) -> Result<Arc<ClientConfig>, ConfigError> {
    let fault = |key: &str, message: String| ConfigError::inconsistent(format!("{section}.{key}"), message);
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| fault("ca", error.to_string()))?
        .with_root_certificates(roots(settings).map_err(|message| fault("ca", message))?);
    let mut config = match (&settings.cert, &settings.key) {
        (None, None) => builder.with_no_client_auth(),
        (Some(cert), Some(key)) => {
            let chain = super::pem::read_chain(cert).map_err(|message| fault("cert", message))?;
            let private = super::pem::read_key(key).map_err(|message| fault("key", message))?;
            builder
                .with_client_auth_cert(chain, private)
                .map_err(|error| fault("key", format!("{}: {error}", key.display())))?
        }
        (Some(_), None) => return Err(fault("key", "a certificate needs its key".to_owned())),
        (None, Some(_)) => return Err(fault("cert", "a key needs its certificate".to_owned())),
    };
    config.alpn_protocols = vec![match protocol {
        Protocol::Http1 => b"http/1.1".to_vec(),
        Protocol::Http2 => b"h2".to_vec(),
    }];
    config.resumption = Resumption::in_memory_sessions(SESSIONS);
    Ok(Arc::new(config))
}

fn roots(settings: &Backend) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    if let Some(file) = &settings.ca {
        for certificate in super::pem::read_chain(file)? {
            roots.add(certificate).map_err(|error| format!("{}: {error}", file.display()))?;
        }
        return Ok(roots);
    }
    let found = rustls_native_certs::load_native_certs();
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        return Err("this machine has no authorities of its own; name a file".to_owned());
    }
    Ok(roots)
}
