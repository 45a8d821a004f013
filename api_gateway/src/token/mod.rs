//! Who a request is from: bearer tokens (RFC 6750, RFC 7519) checked by the keys the accounts service publishes.
//!
//! A token is verified once by its signature and then remembered until it expires or the keys change, so a
//! token in use costs a look-up. Keys are fetched in the background; a token that names an unknown key asks
//! for a fetch at once, and waits for it.

mod keys;
mod remembered;
mod verify;

use std::rc::Rc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, header};
use process::problem::{Problem, kinds};

pub(crate) use keys::KeySet;
pub(crate) use remembered::Remembered;
pub(crate) use verify::{Rules, TokenFault, Verified, verify};

use crate::published::Published;
use crate::refusal::Refusal;

/// When a client may try again while the keys are not known.
const KEYS_RETRY_AFTER: Duration = Duration::from_secs(2);

/// Finds the bearer token of a request; `None` when there are no credentials at all.
pub(crate) fn find_token(fields: &HeaderMap) -> Result<Option<&str>, Refusal> {
    let mut values = fields.get_all(header::AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(refuse("invalid_request", "there is more than one Authorization field"));
    }
    match value.to_str().ok().and_then(|value| value.split_once(' ')) {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("Bearer") => Ok(Some(token.trim())),
        _ => Err(refuse("invalid_request", "the Authorization field does not carry a bearer token")),
    }
}

/// Checks a token by signature, or remembers that it was checked.
pub(crate) async fn authenticate(
    token: &str,
    keys: &Published<KeySet>,
    remembered: &Remembered,
    rules: &Rules,
    unix_now: u64,
) -> Result<Rc<Verified>, Refusal> {
    if let Some(current) = keys.load().as_ref() {
        if let Some(verified) = remembered.find(token, current.number, unix_now) {
            return Ok(verified);
        }
        match verify(token, &current.content, rules, unix_now) {
            Err(TokenFault::UnknownKey) => {}
            Err(fault) => return Err(fault.into()),
            Ok(verified) => return Ok(remember(token, remembered, current.number, verified)),
        }
    }
    // Either no keys are known yet, or the token names one that may be new.
    keys.refetch().await;
    let Some(current) = keys.load().clone() else {
        return Err(Problem::new(kinds::UNAVAILABLE)
            .detail("tokens cannot be checked at the moment")
            .retry_after(KEYS_RETRY_AFTER)
            .into());
    };
    let verified = verify(token, &current.content, rules, unix_now)?;
    Ok(remember(token, remembered, current.number, verified))
}

fn remember(token: &str, remembered: &Remembered, keys: u64, verified: Verified) -> Rc<Verified> {
    let verified = Rc::new(verified);
    remembered.remember(token, keys, Rc::clone(&verified));
    verified
}

/// Refuses for want of a token (RFC 6750 §3: the challenge then carries no error code).
pub(crate) fn ask_for_token() -> Refusal {
    let detail = "send a token: Authorization: Bearer …";
    Problem::new(kinds::UNAUTHENTICATED).detail(detail).challenge(r#"Bearer realm="sixfold""#).into()
}

/// Refuses for want of a role (RFC 6750 §3.1).
pub(crate) fn ask_for_role() -> Refusal {
    let challenge = HeaderValue::from_static(r#"Bearer realm="sixfold", error="insufficient_scope""#);
    let problem = Problem::new(kinds::FORBIDDEN).detail("the user does not have a role that may do this");
    Refusal::from(problem).with_field(header::WWW_AUTHENTICATE, challenge)
}

fn refuse(error: &str, description: &str) -> Refusal {
    Problem::new(kinds::INVALID_TOKEN)
        .detail(description)
        .challenge(format!(r#"Bearer realm="sixfold", error="{error}", error_description="{description}""#))
        .into()
}

impl From<TokenFault> for Refusal {
    fn from(fault: TokenFault) -> Self {
        refuse("invalid_token", &fault.to_string())
    }
}

#[cfg(test)]
pub(crate) mod testing;

#[cfg(test)]
mod tests {
    use super::*;

    fn find(value: &str) -> Result<Option<String>, u16> {
        let mut fields = HeaderMap::new();
        fields.insert(header::AUTHORIZATION, value.parse().unwrap());
        find_token(&fields)
            .map(|token| token.map(str::to_owned))
            .map_err(|refusal| refusal.to_response().status().as_u16())
    }

    #[test]
    fn only_one_bearer_token_is_a_token() {
        assert_eq!(find("Bearer abc"), Ok(Some("abc".to_owned())));
        assert_eq!(find("bearer abc"), Ok(Some("abc".to_owned())));
        assert_eq!(find("Basic abc"), Err(401));
        assert_eq!(find("Bearer"), Err(401));
        let mut fields = HeaderMap::new();
        assert!(matches!(find_token(&fields), Ok(None)));
        fields.append(header::AUTHORIZATION, "Bearer a".parse().unwrap());
        fields.append(header::AUTHORIZATION, "Bearer b".parse().unwrap());
        assert!(find_token(&fields).is_err());
    }

    #[test]
    fn a_refusal_carries_the_challenge_of_rfc_6750() {
        let response = Refusal::from(TokenFault::Expired).to_response();
        assert_eq!(
            response.headers()["www-authenticate"],
            r#"Bearer realm="sixfold", error="invalid_token", error_description="the token has expired""#
        );
        assert_eq!(ask_for_token().to_response().headers()["www-authenticate"], r#"Bearer realm="sixfold""#);
    }
}
