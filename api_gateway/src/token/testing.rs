//! An issuer of real tokens for tests.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use super::KeySet;

/// The time of tests that are told one, in seconds since 1970.
pub(crate) const NOW: u64 = 1_800_000_000;

/// An Ed25519 key with an ID.
pub(crate) struct Issuer {
    id: String,
    private: Vec<u8>,
    public: Vec<u8>,
}

impl Issuer {
    pub(crate) fn new(id: &str) -> Self {
        let document = Ed25519KeyPair::generate_pkcs8(&aws_lc_rs::rand::SystemRandom::new()).unwrap();
        let pair = Ed25519KeyPair::from_pkcs8(document.as_ref()).unwrap();
        Self {
            id: id.to_owned(),
            private: document.as_ref().to_vec(),
            public: pair.public_key().as_ref().to_vec(),
        }
    }

    pub(crate) fn jwk(&self) -> Value {
        let x = BASE64_URL_SAFE_NO_PAD.encode(&self.public);
        json!({"kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": self.id, "x": x})
    }

    pub(crate) fn jwks(&self) -> Value {
        json!({"keys": [self.jwk()]})
    }

    pub(crate) fn key_set(&self) -> KeySet {
        KeySet::parse(self.jwks().to_string().as_bytes()).unwrap()
    }

    /// Claims that are good at [`NOW`].
    pub(crate) fn claims(&self, subject: &str, roles: &[&str]) -> Value {
        json!({"iss": "sixfold", "aud": "sixfold", "sub": subject, "roles": roles, "exp": NOW + 900, "iat": NOW})
    }

    /// A token that is good now, by the system's clock.
    pub(crate) fn token(&self, subject: &str, roles: &[&str]) -> String {
        let mut claims = self.claims(subject, roles);
        claims["exp"] = json!(crate::clock::unix_now() + 900);
        self.sign(&claims)
    }

    pub(crate) fn sign(&self, claims: &Value) -> String {
        let header = Header { kid: Some(self.id.clone()), ..Header::new(Algorithm::EdDSA) };
        jsonwebtoken::encode(&header, claims, &EncodingKey::from_ed_der(&self.private)).unwrap()
    }

    /// A token whose header lists what its reader must understand.
    pub(crate) fn sign_critical(&self, claims: &Value, names: &[&str]) -> String {
        let crit = Some(names.iter().map(|name| (*name).to_owned()).collect());
        let header = Header { kid: Some(self.id.clone()), crit, ..Header::new(Algorithm::EdDSA) };
        jsonwebtoken::encode(&header, claims, &EncodingKey::from_ed_der(&self.private)).unwrap()
    }

    /// The attack in which a public key is passed off as a shared secret.
    pub(crate) fn sign_with_public_key_as_secret(&self, claims: &Value) -> String {
        let header = Header { kid: Some(self.id.clone()), ..Header::new(Algorithm::HS256) };
        jsonwebtoken::encode(&header, claims, &EncodingKey::from_secret(&self.public)).unwrap()
    }
}
