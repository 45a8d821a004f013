//! Checking one token, as a function of the token, the keys and the time.

use std::collections::BTreeMap;

use http::{HeaderMap, HeaderName, HeaderValue};
use jsonwebtoken::{Algorithm, Validation, errors::ErrorKind};
use process::Identity;
use process::identity::{self, is_claim};
use serde::Deserialize;
use serde_json::Value;

use super::KeySet;
use crate::config::TokenConfig;

/// The longest token that is looked at, in bytes; ours are under 600.
const LENGTH_LIMIT: usize = 8 << 10;

/// What a token must say.
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    validation: Validation,
    leeway_seconds: u64,
    /// The claims that are passed on.
    claims: Vec<String>,
}

impl From<&TokenConfig> for Rules {
    fn from(config: &TokenConfig) -> Self {
        // EdDSA only: a key of the set is never tried with an algorithm the token chose (RFC 8725 §3.1).
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_issuer(&[&config.issuer]);
        validation.set_audience(&[&config.audience]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        // Times are checked below, against the time this function is told.
        validation.validate_exp = false;
        validation.validate_nbf = false;
        Self { validation, leeway_seconds: config.leeway.as_secs(), claims: config.claims.clone() }
    }
}

/// A token that was checked.
#[derive(Debug)]
pub(crate) struct Verified {
    /// The user.
    pub(crate) identity: Identity,
    /// When it stops being valid, in seconds since 1970, leeway included.
    pub(crate) valid_until: u64,
    /// The identity as fields for a service, made once.
    fields: Vec<(HeaderName, HeaderValue)>,
}

impl Verified {
    /// Writes the identity into a request to a service.
    pub(crate) fn write(&self, fields: &mut HeaderMap) {
        for (name, value) in &self.fields {
            fields.insert(name, value.clone());
        }
    }
}

/// Why a token is refused; the text may be told to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TokenFault {
    #[error("the token is malformed")]
    Malformed,
    #[error("the token is not signed with EdDSA")]
    Algorithm,
    #[error("the token is signed with an unknown key")]
    UnknownKey,
    #[error("the signature of the token is wrong")]
    Signature,
    #[error("the token has expired")]
    Expired,
    #[error("the token is not valid yet")]
    NotYetValid,
    #[error("the token is from another issuer")]
    Issuer,
    #[error("the token is for another audience")]
    Audience,
    #[error("the token demands extensions that are not understood here")]
    Critical,
}

#[derive(Debug, Deserialize)]
struct Claims {
    sub: String,
    exp: f64,
    nbf: Option<f64>,
    #[serde(default)]
    roles: Vec<String>,
    #[serde(flatten)]
    others: BTreeMap<String, Value>,
}

/// Checks a token's algorithm, signature, issuer, audience and times.
pub(crate) fn verify(
    token: &str,
    keys: &KeySet,
    rules: &Rules,
    unix_now: u64,
) -> Result<Verified, TokenFault> {
    if token.len() > LENGTH_LIMIT {
        return Err(TokenFault::Malformed);
    }
    let header = jsonwebtoken::decode_header(token).map_err(|error| fault(error.kind()))?;
    if header.alg != Algorithm::EdDSA {
        return Err(TokenFault::Algorithm);
    }
    // RFC 7515 §4.1.11: none of the extensions is understood here, and an empty list is not allowed.
    if header.crit.is_some() {
        return Err(TokenFault::Critical);
    }
    let id = header.kid.ok_or(TokenFault::UnknownKey)?;
    let key = keys.find(&id).ok_or(TokenFault::UnknownKey)?;
    let claims = jsonwebtoken::decode::<Claims>(token, key, &rules.validation)
        .map_err(|error| fault(error.kind()))?
        .claims;
    // RFC 7519 §2: a NumericDate may have a fraction; as far as it goes a later second is still before it.
    let seconds = |date: f64| if date.is_finite() && date >= 0.0 { date as u64 } else { 0 };
    let valid_until = seconds(claims.exp).saturating_add(rules.leeway_seconds);
    if unix_now >= valid_until {
        return Err(TokenFault::Expired);
    }
    if claims.nbf.is_some_and(|from| seconds(from) > unix_now.saturating_add(rules.leeway_seconds)) {
        return Err(TokenFault::NotYetValid);
    }
    // Roles travel as one list with commas, so a comma in a role would make two of it.
    if !is_name(&claims.sub) || !claims.roles.iter().all(|role| is_name(role) && !role.contains(',')) {
        return Err(TokenFault::Malformed);
    }
    let others = claims.others.into_iter();
    let passed = others.filter(|(name, value)| rules.claims.contains(name) && is_claim(value)).collect();
    let user = Identity { subject: claims.sub, roles: claims.roles, claims: passed };
    let mut written = HeaderMap::new();
    user.write(&mut written);
    if written.is_empty() {
        return Err(TokenFault::Malformed);
    }
    // What goes on after the head must end with the token.
    identity::write_until(valid_until, &mut written);
    let fields = written.into_iter().filter_map(|(name, value)| Some((name?, value))).collect();
    Ok(Verified { identity: user, valid_until, fields })
}

/// Tells whether a text arrives in a field as it is: whoever reads the field cuts whitespace off its ends
/// (RFC 9110 §5.5).
fn is_name(text: &str) -> bool {
    !text.is_empty() && text.trim().len() == text.len() && !text.contains(char::is_control)
}

fn fault(kind: &ErrorKind) -> TokenFault {
    match kind {
        ErrorKind::InvalidSignature => TokenFault::Signature,
        ErrorKind::InvalidAlgorithm | ErrorKind::InvalidAlgorithmName => TokenFault::Algorithm,
        ErrorKind::InvalidIssuer => TokenFault::Issuer,
        ErrorKind::InvalidAudience => TokenFault::Audience,
        ErrorKind::MissingRequiredClaim(claim) if claim == "iss" => TokenFault::Issuer,
        ErrorKind::MissingRequiredClaim(claim) if claim == "aud" => TokenFault::Audience,
        _ => TokenFault::Malformed,
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use serde_json::json;

    use super::*;
    use crate::token::testing::{Issuer, NOW};

    fn check(token: &str, issuer: &Issuer) -> Result<Identity, TokenFault> {
        verify(token, &issuer.key_set(), &Rules::from(&TokenConfig::default()), NOW)
            .map(|verified| verified.identity)
    }

    fn with(change: impl FnOnce(&mut serde_json::Value)) -> Result<Identity, TokenFault> {
        let issuer = Issuer::new("k1");
        let mut claims = issuer.claims("ada", &["admin"]);
        change(&mut claims);
        check(&issuer.sign(&claims), &issuer)
    }

    #[test]
    fn a_good_token_names_the_user_and_the_roles() {
        let ada = with(|_| {}).unwrap();
        assert_eq!((ada.subject.as_str(), ada.roles.as_slice()), ("ada", &["admin".to_owned()][..]));
    }

    #[test]
    fn of_other_claims_those_are_passed_on_that_were_named_and_that_a_rule_can_use() {
        let issuer = Issuer::new("k1");
        let mut claims = issuer.claims("ada", &[]);
        for (name, value) in [
            ("tenant", json!("acme")),
            ("level", json!(7)),
            ("beta", json!(true)),
            ("groups", json!(["a"])),
            ("note", json!("x".repeat(257))),
            ("secret", json!("s")),
        ] {
            claims[name] = value;
        }
        let named = ["tenant", "level", "beta", "groups", "note", "missing"].map(str::to_owned).to_vec();
        let config = TokenConfig { claims: named, ..TokenConfig::default() };
        let verified = verify(&issuer.sign(&claims), &issuer.key_set(), &Rules::from(&config), NOW).unwrap();
        let passed = serde_json::to_value(&verified.identity.claims).unwrap();
        assert_eq!(passed, json!({"tenant": "acme", "level": 7, "beta": true}));
        let mut written = HeaderMap::new();
        verified.write(&mut written);
        assert_eq!(Identity::read(&written), Some(verified.identity));
        let until = identity::read_until(&written).unwrap().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        assert_eq!(until.as_secs(), verified.valid_until, "and services are told when to end what goes on");
        assert!(
            with(|claims| claims["tenant"] = json!("acme")).unwrap().claims.is_empty(),
            "none unless named"
        );
    }

    #[test]
    fn each_claim_is_checked() {
        assert_eq!(with(|claims| claims["exp"] = json!(NOW - 6)), Err(TokenFault::Expired));
        assert!(with(|claims| claims["exp"] = json!(NOW - 4)).is_ok(), "within the leeway");
        assert_eq!(with(|claims| claims["nbf"] = json!(NOW + 6)), Err(TokenFault::NotYetValid));
        assert_eq!(with(|claims| claims["iss"] = json!("elsewhere")), Err(TokenFault::Issuer));
        assert_eq!(with(|claims| claims["aud"] = json!(["elsewhere"])), Err(TokenFault::Audience));
        assert!(with(|claims| claims["aud"] = json!(["elsewhere", "sixfold"])).is_ok());
        for claim in ["exp", "iss", "aud", "sub"] {
            assert!(with(|claims| drop(claims.as_object_mut().unwrap().remove(claim))).is_err(), "{claim}");
        }
    }

    #[test]
    fn a_name_that_would_reach_the_service_as_another_is_refused() {
        for name in
            ["", " ", " ada", "ada ", "ada\t", "a\tda", "\u{a0}ada", "a\u{85}da", "ada\r\nsixfold-roles: x"]
        {
            assert_eq!(with(|claims| claims["sub"] = json!(name)), Err(TokenFault::Malformed), "{name:?}");
            assert_eq!(
                with(|claims| claims["roles"] = json!(["user", name])),
                Err(TokenFault::Malformed),
                "{name:?}"
            );
        }
        assert_eq!(with(|claims| claims["roles"] = json!(["user,admin"])), Err(TokenFault::Malformed));
        assert!(with(|claims| claims["sub"] = json!("Ada Lovelace")).is_ok());
    }

    #[test]
    fn a_token_that_demands_what_is_not_understood_is_refused() {
        let issuer = Issuer::new("k1");
        let token = issuer.sign_critical(&issuer.claims("ada", &[]), &["b64"]);
        assert_eq!(check(&token, &issuer), Err(TokenFault::Critical));
    }

    #[test]
    fn another_key_another_algorithm_or_none_does_not_pass() {
        let issuer = Issuer::new("k1");
        let claims = issuer.claims("ada", &[]);
        assert_eq!(check(&Issuer::new("k1").sign(&claims), &issuer), Err(TokenFault::Signature));
        assert_eq!(check(&Issuer::new("k2").sign(&claims), &issuer), Err(TokenFault::UnknownKey));
        assert_eq!(
            check(&issuer.sign_with_public_key_as_secret(&claims), &issuer),
            Err(TokenFault::Algorithm)
        );
        let signed = issuer.sign(&claims);
        let (unsigned, _) = signed.rsplit_once('.').unwrap();
        assert_eq!(check(&format!("{unsigned}."), &issuer), Err(TokenFault::Signature));
        // {"alg":"none","kid":"k1"}
        let none = format!("eyJhbGciOiJub25lIiwia2lkIjoiazEifQ.{}.", signed.split('.').nth(1).unwrap());
        assert!(check(&none, &issuer).is_err());
        for token in ["", ".", "..", "a.b.c", &"a".repeat(9000)] {
            assert_eq!(check(token, &issuer), Err(TokenFault::Malformed), "{token}");
        }
    }
}
