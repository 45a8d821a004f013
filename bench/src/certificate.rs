//! The certificate every load balancer shows: ECDSA P-256, signed by itself.

use std::path::Path;

use tokio_rustls::rustls::pki_types::CertificateDer;

use crate::processes::write;

/// Files and bytes of one certificate.
#[derive(Debug)]
pub(crate) struct Certificate {
    /// The file of the certificate.
    pub(crate) chain: String,
    /// The file of its key.
    pub(crate) key: String,
    /// Both in one file, as HAProxy wants them.
    pub(crate) chain_and_key: String,
    /// The certificate, for a client that trusts it.
    pub(crate) der: CertificateDer<'static>,
}

impl Certificate {
    /// Makes one for `localhost` and writes its files.
    pub(crate) fn make(folder: &Path) -> anyhow::Result<Self> {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
        let (chain, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        Ok(Self {
            chain_and_key: write(folder, "both.pem", &format!("{chain}{key}"))?,
            chain: write(folder, "certificate.pem", &chain)?,
            key: write(folder, "key.pem", &key)?,
            der: made.cert.der().clone(),
        })
    }
}
