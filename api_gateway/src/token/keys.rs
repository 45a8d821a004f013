//! A set of public keys as published (RFC 7517).

use std::collections::HashMap;

use jsonwebtoken::DecodingKey;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse};
use serde::Deserialize;

/// The Ed25519 keys of a JWK Set, by key ID.
#[derive(Clone)]
pub(crate) struct KeySet(HashMap<String, DecodingKey>);

#[derive(Deserialize)]
struct Document {
    keys: Vec<serde_json::Value>,
}

impl KeySet {
    /// Reads a JWK Set; keys of other kinds are passed over (RFC 7517 §5).
    pub(crate) fn parse(body: &[u8]) -> Result<Self, serde_json::Error> {
        let document: Document = serde_json::from_slice(body)?;
        let usable = document.keys.into_iter().filter_map(|key| {
            let key: Jwk = serde_json::from_value(key).ok()?;
            let id = key.common.key_id.clone()?;
            is_for_tokens(&key).then(|| DecodingKey::from_jwk(&key).ok().map(|key| (id, key))).flatten()
        });
        Ok(Self(usable.collect()))
    }

    /// Finds a key by its ID.
    pub(crate) fn find(&self, id: &str) -> Option<&DecodingKey> {
        self.0.get(id)
    }
}

fn is_for_tokens(key: &Jwk) -> bool {
    let is_ed25519 = matches!(&key.algorithm,
        AlgorithmParameters::OctetKeyPair(parameters) if parameters.curve == EllipticCurve::Ed25519);
    let signs = matches!(key.common.public_key_use, None | Some(PublicKeyUse::Signature));
    let algorithm_fits = matches!(key.common.key_algorithm, None | Some(KeyAlgorithm::EdDSA));
    is_ed25519 && signs && algorithm_fits
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::testing::Issuer;

    #[test]
    fn only_keys_that_check_tokens_are_taken() {
        let mut document = serde_json::json!({"keys": [
            Issuer::new("right").jwk(),
            Issuer::new("for-encryption").jwk(),
            {"kty": "oct", "kid": "shared", "k": "c2VjcmV0"},
            {"kty": "quantum", "kid": "odd"},
            {"kty": "OKP", "crv": "Ed25519", "kid": "broken", "x": "!"},
            "nonsense",
        ]});
        document["keys"][1]["use"] = "enc".into();
        let set = KeySet::parse(&serde_json::to_vec(&document).unwrap()).unwrap();
        assert_eq!(set.0.keys().collect::<Vec<_>>(), ["right"]);
        assert!(KeySet::parse(b"{}").is_err());
    }
}
