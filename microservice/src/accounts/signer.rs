//! Signing access tokens: JWTs (RFC 7519) with EdDSA over Ed25519 (RFC 8037), and their public keys.

use aws_lc_rs::digest;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use bytes::Bytes;
use database::{Error, Precondition};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use crate::config;
use crate::namespace::Namespace;

/// The collection of the keys.
const KEYS: &str = "signing_keys";

/// The name of the first key; later ones will count on, so that the last in order is the one that signs.
const FIRST_KEY: &str = "00000001";

/// How many keys are published: the one that signs and those whose tokens may still be in use.
const PUBLISHED: u32 = 10;

/// A signing key as it is stored.
#[derive(Debug, Serialize, Deserialize)]
struct StoredKey {
    /// The private key, PKCS#8 as base64url.
    pkcs8: String,
}

/// What an access token says.
#[derive(Debug, Serialize)]
struct Claims<'a> {
    iss: &'a str,
    aud: &'a str,
    sub: &'a str,
    roles: &'a [String],
    iat: i64,
    exp: i64,
    jti: String,
}

/// Signs access tokens.
#[derive(Debug)]
pub(super) struct Signer {
    pair: Ed25519KeyPair,
    /// The encoded header, the same for every token of the key.
    header: String,
    key_set: Bytes,
}

impl Signer {
    /// Loads the keys, making the first one if there is none; of two instances that try, one does.
    pub(super) async fn load(records: &Namespace) -> Result<Self, Error> {
        let mut stored = records.list::<StoredKey>(KEYS, None, PUBLISHED).await?;
        if stored.is_empty() {
            let made = records.put(KEYS, FIRST_KEY, &generate()?, Precondition::Absent).await;
            if let Err(error) = made
                && !matches!(error, Error::PreconditionFailed { .. })
            {
                return Err(error);
            }
            stored = records.list(KEYS, None, PUBLISHED).await?;
        }
        let pairs = stored.iter().map(|key| read(&key.value)).collect::<Result<Vec<_>, _>>()?;
        Self::new(pairs)
    }

    /// Makes a signer that signs with the last key and publishes all.
    fn new(mut pairs: Vec<Ed25519KeyPair>) -> Result<Self, Error> {
        let keys: Vec<_> = pairs.iter().map(public_key).collect();
        let key_set = Bytes::from(json!({ "keys": keys }).to_string());
        let pair = pairs.pop().ok_or_else(|| broken("no signing key is stored"))?;
        let header = json!({ "alg": "EdDSA", "typ": "JWT", "kid": key_id(&pair) }).to_string();
        Ok(Self { header: BASE64_URL_SAFE_NO_PAD.encode(header), pair, key_set })
    }

    /// Gives the JSON Web Key Set (RFC 7517 §5) with the public keys.
    pub(super) fn key_set(&self) -> Bytes {
        self.key_set.clone()
    }

    /// Signs a token for a user that is good for `access_ttl` from `now`.
    pub(super) fn sign(
        &self,
        settings: &config::Accounts,
        username: &str,
        roles: &[String],
        now: Timestamp,
    ) -> String {
        let issued = now.as_second();
        let ttl = settings.access_ttl;
        let claims = Claims {
            iss: &settings.issuer,
            aud: &settings.audience,
            sub: username,
            roles,
            iat: issued,
            exp: issued.saturating_add(i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX)),
            jti: Uuid::new_v4().to_string(),
        };
        let claims = serde_json::to_vec(&claims).unwrap_or_default();
        let mut token = format!("{}.{}", self.header, BASE64_URL_SAFE_NO_PAD.encode(claims));
        let signature = self.pair.sign(token.as_bytes());
        token.push('.');
        BASE64_URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        token
    }
}

fn generate() -> Result<StoredKey, Error> {
    let document =
        Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(|_| broken("no key can be made"))?;
    Ok(StoredKey { pkcs8: BASE64_URL_SAFE_NO_PAD.encode(document) })
}

fn read(key: &StoredKey) -> Result<Ed25519KeyPair, Error> {
    let pkcs8 = BASE64_URL_SAFE_NO_PAD.decode(&key.pkcs8);
    let pkcs8 = pkcs8.map_err(|_| broken("a stored signing key is not base64url"))?;
    Ed25519KeyPair::from_pkcs8(&pkcs8).map_err(|_| broken("a stored signing key is not an Ed25519 key"))
}

fn public_key(pair: &Ed25519KeyPair) -> serde_json::Value {
    let x = BASE64_URL_SAFE_NO_PAD.encode(pair.public_key());
    json!({ "kty": "OKP", "crv": "Ed25519", "x": x, "kid": key_id(pair), "alg": "EdDSA", "use": "sig" })
}

/// Names a key by its thumbprint (RFC 7638 §3.1, RFC 8037 appendix A.3).
fn key_id(pair: &Ed25519KeyPair) -> String {
    let x = BASE64_URL_SAFE_NO_PAD.encode(pair.public_key());
    let members = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#);
    BASE64_URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, members.as_bytes()))
}

fn broken(reason: &str) -> Error {
    Error::Storage { reason: reason.to_owned() }
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header, jwk::JwkSet};
    use serde_json::Value;

    use super::*;

    #[test]
    fn another_library_accepts_the_token_by_the_published_key() {
        let old = read(&generate().unwrap()).unwrap();
        let new = read(&generate().unwrap()).unwrap();
        let signer = Signer::new(vec![old, new]).unwrap();
        let now = Timestamp::now();
        let settings = config::Accounts {
            issuer: "the house".to_owned(),
            audience: "the gateways".to_owned(),
            ..config::Accounts::default()
        };
        let token = signer.sign(&settings, "ada", &["admin".into()], now);

        let set: JwkSet = serde_json::from_slice(&signer.key_set()).unwrap();
        assert_eq!(set.keys.len(), 2);
        let kid = decode_header(&token).unwrap().kid.unwrap();
        let key = DecodingKey::from_jwk(set.find(&kid).unwrap()).unwrap();
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_audience(&["the gateways"]);
        validation.set_issuer(&["the house"]);
        let claims = decode::<Value>(&token, &key, &validation).unwrap().claims;
        assert_eq!(claims["sub"], "ada");
        assert_eq!(claims["roles"][0], "admin");
        assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 900);

        let other = set.keys.iter().find(|jwk| jwk.common.key_id.as_ref() != Some(&kid)).unwrap();
        let other = DecodingKey::from_jwk(other).unwrap();
        assert!(decode::<Value>(&token, &other, &validation).is_err(), "another key must not accept it");
    }

    #[test]
    fn a_key_is_named_as_rfc_8037_shows() {
        // Appendix A.1 to A.3.
        let seed = BASE64_URL_SAFE_NO_PAD.decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A").unwrap();
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).unwrap();
        assert_eq!(key_id(&pair), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    }
}
