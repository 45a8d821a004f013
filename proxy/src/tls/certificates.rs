//! Which certificate a client gets.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use process::ConfigError;
use tokio_rustls::rustls::SignatureScheme;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;

use super::{CertificateFiles, expiry, pem};

/// The certificates of a listener, found by the names they bear.
#[derive(Debug, Default)]
pub(super) struct Certificates {
    /// Several may bear one name: an ECDSA and an RSA one, of which the client understands the first or both.
    exact: HashMap<String, Vec<Arc<CertifiedKey>>>,
    /// By what follows `*.`, which stands for one label (RFC 6125 §6.4.3).
    wildcard: HashMap<String, Vec<Arc<CertifiedKey>>>,
    default: Option<Arc<CertifiedKey>>,
}

impl Certificates {
    /// Reads the files; the error names the one at fault.
    pub(super) fn load(files: &[CertificateFiles], section: &str) -> Result<Self, ConfigError> {
        let mut all = Self::default();
        for (index, files) in files.iter().enumerate() {
            all.add(files).map_err(|(key, message)| {
                ConfigError::inconsistent(format!("{section}.certificates[{index}].{key}"), message)
            })?;
        }
        Ok(all)
    }

    fn add(&mut self, files: &CertificateFiles) -> Result<(), (&'static str, String)> {
        let chain = pem::read_chain(&files.cert).map_err(|message| ("cert", message))?;
        let key = pem::read_key(&files.key).map_err(|message| ("key", message))?;
        let cert = files.cert.display();
        let end_entity = webpki::EndEntityCert::try_from(&chain[0])
            .map_err(|error| ("cert", format!("{cert}: not a certificate of a server: {error}")))?;
        let names: Vec<String> = end_entity.valid_dns_names().map(str::to_ascii_lowercase).collect();
        match expiry::not_after(&chain[0]) {
            Some(end) if end < SystemTime::now() => tracing::warn!(%cert, "the certificate has expired"),
            Some(_) => {}
            None => tracing::warn!(%cert, "it cannot be told when the certificate expires"),
        }
        let certified = CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider());
        let certified = certified.map_err(|error| {
            ("key", format!("{}: it is not the key of {cert}: {error}", files.key.display()))
        })?;
        let certified = Arc::new(certified);
        self.default.get_or_insert_with(|| Arc::clone(&certified));
        for name in names {
            let (table, name) = match name.strip_prefix("*.") {
                Some(parent) => (&mut self.wildcard, parent.to_owned()),
                None => (&mut self.exact, name),
            };
            table.entry(name).or_default().push(Arc::clone(&certified));
        }
        Ok(())
    }

    /// Chooses by the host a client names: exactly it, then a wildcard, then the default.
    fn choose(&self, host: Option<&str>, schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let usable = |keys: &Vec<Arc<CertifiedKey>>| {
            keys.iter().find(|key| key.key.choose_scheme(schemes).is_some()).cloned()
        };
        let named = host.and_then(|host| {
            let host = host.to_ascii_lowercase();
            let exact = self.exact.get(&host).and_then(usable);
            exact.or_else(|| self.wildcard.get(host.split_once('.')?.1).and_then(usable))
        });
        named.or_else(|| self.default.clone())
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.choose(hello.server_name(), hello.signature_schemes())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn write(folder: &Path, stem: &str, names: &[&str]) -> CertificateFiles {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        let (cert, key) = (folder.join(format!("{stem}.pem")), folder.join(format!("{stem}.key")));
        std::fs::write(&cert, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        CertificateFiles { cert, key }
    }

    #[test]
    fn a_host_gets_its_own_certificate_then_a_wildcard_then_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let files = [
            write(folder.path(), "first", &["first.example"]),
            write(folder.path(), "wild", &["*.b.example"]),
            write(folder.path(), "exact", &["a.b.example"]),
        ];
        let all = Certificates::load(&files, "tls").unwrap();
        let chosen = |host: Option<&str>| {
            let found = all.choose(host, &[SignatureScheme::ECDSA_NISTP256_SHA256]).unwrap();
            files.iter().position(|files| pem::read_chain(&files.cert).unwrap()[0] == found.cert[0]).unwrap()
        };
        assert_eq!(chosen(Some("A.b.example")), 2);
        assert_eq!(chosen(Some("c.b.example")), 1);
        assert_eq!(chosen(Some("d.c.b.example")), 0, "a wildcard stands for one label");
        assert_eq!(chosen(Some("b.example")), 0);
        assert_eq!(chosen(None), 0);
    }

    #[test]
    fn the_file_at_fault_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (write(folder.path(), "one", &["a"]), write(folder.path(), "two", &["b"]));
        let refuse = |cert: &Path, key: &Path, expected: &str| {
            let files = [CertificateFiles { cert: cert.to_owned(), key: key.to_owned() }];
            let error = Certificates::load(&files, "load_balancer.tls").unwrap_err().to_string();
            assert!(error.starts_with("load_balancer.tls.certificates[0]."), "{error}");
            assert!(error.contains(expected), "{error}");
        };
        refuse(&one.cert, &two.key, "two.key: it is not the key of");
        refuse(&one.key, &one.key, "one.key: it holds no certificate");
        refuse(&one.cert, &one.cert, "one.pem: it holds no private key");
        refuse(&folder.path().join("none"), &one.key, "none: ");
    }
}
