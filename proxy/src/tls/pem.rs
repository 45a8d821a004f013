//! Certificates and keys from PEM files, and what is wrong with them in a line.

use std::path::Path;

use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Reads all certificates of a file, of which there must be at least one.
pub(super) fn read_chain(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let bytes = read(file)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match chain {
        Ok(chain) if chain.is_empty() => Err(format!("{}: it holds no certificate", file.display())),
        Ok(chain) => Ok(chain),
        Err(error) => Err(format!("{}: {error}", file.display())),
    }
}

/// Reads the first key of a file.
pub(super) fn read_key(file: &Path) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_slice(&read(file)?).map_err(|error| match error {
        pem::Error::NoItemsFound => format!("{}: it holds no private key", file.display()),
        error => format!("{}: {error}", file.display()),
    })
}

fn read(file: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(file).map_err(|error| format!("{}: {error}", file.display()))
}
