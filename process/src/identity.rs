//! Who a request is from, as a gateway tells it to a service of the house.
//!
//! A gateway checks the user's token and sends `Sixfold-Subject` and `Sixfold-Roles` beside the cluster
//! token, `Sixfold-Claims` with what else of the token it was told to pass on, `Sixfold-Valid-Until`
//! with the time at which the token ends, in seconds since 1970, and `Sixfold-Client` with the address that asked, behind the
//! proxies it trusts. A service believes them only from a caller that the cluster token authorizes; a
//! gateway removes whatever a client sent under these names.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;

use crate::token::TOKEN_FIELD;

/// The field that names the authenticated user.
const SUBJECT_FIELD: HeaderName = HeaderName::from_static("sixfold-subject");

/// The field that lists the user's roles, separated by commas.
const ROLES_FIELD: HeaderName = HeaderName::from_static("sixfold-roles");

/// The field that holds other claims: a JSON object in base64url, since a claim may hold any characters.
const CLAIMS_FIELD: HeaderName = HeaderName::from_static("sixfold-claims");

/// The field that tells until when the user's token is good.
const UNTIL_FIELD: HeaderName = HeaderName::from_static("sixfold-valid-until");

/// The field that tells the address of who asked.
const CLIENT_FIELD: HeaderName = HeaderName::from_static("sixfold-client");

/// The longest text of a claim, in bytes; a longer one is as if it were not there.
pub const CLAIM_LIMIT: usize = 256;

/// The most claims.
pub const CLAIMS_LIMIT: usize = 16;

/// An authenticated user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The user's name.
    pub subject: String,
    /// The user's roles.
    pub roles: Vec<String>,
    /// Other claims that a gateway was told to pass on: texts, numbers and booleans.
    pub claims: BTreeMap<String, Value>,
}

/// Tells whether a claim can be passed on.
pub fn is_claim(value: &Value) -> bool {
    match value {
        Value::String(text) => text.len() <= CLAIM_LIMIT,
        Value::Number(_) | Value::Bool(_) => true,
        Value::Null | Value::Array(_) | Value::Object(_) => false,
    }
}

impl Identity {
    /// Tells whether the user has any of these roles; an empty list asks for none.
    pub fn has_any_role(&self, roles: &[String]) -> bool {
        roles.is_empty() || roles.iter().any(|role| self.roles.contains(role))
    }

    /// Writes the identity into a request to a service.
    ///
    /// A name that no field can hold is not written, which leaves the request without an identity.
    pub fn write(&self, fields: &mut HeaderMap) {
        let subject = HeaderValue::try_from(&self.subject);
        let roles = HeaderValue::try_from(self.roles.join(","));
        if let (Ok(subject), Ok(roles)) = (subject, roles) {
            fields.insert(SUBJECT_FIELD, subject);
            fields.insert(ROLES_FIELD, roles);
            // Texts, numbers and booleans in memory have no way to fail, and base64 fits into a field.
            let claims = serde_json::to_vec(&self.claims).unwrap_or_default();
            let claims = HeaderValue::try_from(BASE64_URL_SAFE_NO_PAD.encode(claims));
            if let (Ok(claims), false) = (claims, self.claims.is_empty()) {
                fields.insert(CLAIMS_FIELD, claims);
            }
        }
    }

    /// Reads the identity a gateway wrote; check the cluster token first.
    pub fn read(fields: &HeaderMap) -> Option<Self> {
        // `to_str` would take ASCII alone, and names are in UTF-8.
        let text = |value: &HeaderValue| str::from_utf8(value.as_bytes()).ok().map(str::to_owned);
        let subject = fields.get(SUBJECT_FIELD).and_then(text)?;
        let roles = fields.get(ROLES_FIELD).and_then(text).unwrap_or_default();
        let roles = roles.split(',').filter(|role| !role.is_empty()).map(str::to_owned).collect();
        let claims = fields.get(CLAIMS_FIELD).and_then(|claims| BASE64_URL_SAFE_NO_PAD.decode(claims).ok());
        let claims = claims.and_then(|claims| serde_json::from_slice(&claims).ok()).unwrap_or_default();
        Some(Self { subject, roles, claims })
    }
}

/// Writes until when the user's token is good, in seconds since 1970, into a request to a service.
pub fn write_until(unix_seconds: u64, fields: &mut HeaderMap) {
    fields.insert(UNTIL_FIELD, unix_seconds.into());
}

/// Reads until when the gateway wrote that the token is good; check the cluster token first.
pub fn read_until(fields: &HeaderMap) -> Option<SystemTime> {
    let seconds = fields.get(UNTIL_FIELD)?.to_str().ok()?.parse().ok()?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

/// Writes the address of who asked into a request to a service.
pub fn write_client(address: IpAddr, fields: &mut HeaderMap) {
    // Digits, dots and colons fit into a field.
    if let Ok(address) = HeaderValue::try_from(address.to_string()) {
        fields.insert(CLIENT_FIELD, address);
    }
}

/// Reads the address a gateway wrote; check the cluster token first.
pub fn read_client(fields: &HeaderMap) -> Option<IpAddr> {
    fields.get(CLIENT_FIELD)?.to_str().ok()?.parse().ok()
}

/// Removes every field only the house may set from a client's request.
pub fn strip(fields: &mut HeaderMap) {
    fields.remove(SUBJECT_FIELD);
    fields.remove(ROLES_FIELD);
    fields.remove(CLAIMS_FIELD);
    fields.remove(UNTIL_FIELD);
    fields.remove(CLIENT_FIELD);
    fields.remove(TOKEN_FIELD);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_identity_reads_back_as_written_and_a_client_cannot_bring_one() {
        let claims = BTreeMap::from([
            ("tenant".into(), json!("ä\r\nsixfold-roles: root")),
            ("level".into(), json!(7)),
        ]);
        let ada = Identity { subject: "ada".into(), roles: vec!["admin".into(), "user".into()], claims };
        let mut fields = HeaderMap::new();
        ada.write(&mut fields);
        assert_eq!((fields.len(), Identity::read(&fields)), (3, Some(ada)));
        let address = IpAddr::from([192, 0, 2, 7]);
        write_client(address, &mut fields);
        assert_eq!(read_client(&fields), Some(address));
        write_until(1_800_000_000, &mut fields);
        assert_eq!(read_until(&fields), Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)));
        strip(&mut fields);
        assert!(fields.is_empty());
        // Whoever has no claims does not keep a client's.
        fields.insert(CLAIMS_FIELD, HeaderValue::from_static("eyJ0ZW5hbnQiOiJ4In0"));
        strip(&mut fields);
        let plain = Identity { subject: "bob".into(), roles: vec![], claims: BTreeMap::new() };
        plain.write(&mut fields);
        assert_eq!(Identity::read(&fields), Some(plain));
    }

    #[test]
    fn a_name_beyond_ascii_reads_back_as_written() {
        let roles = vec!["admin".into(), "prüfer".into()];
        let user = Identity { subject: "jörg".into(), roles, claims: BTreeMap::new() };
        let mut fields = HeaderMap::new();
        user.write(&mut fields);
        assert_eq!(Identity::read(&fields), Some(user));
    }
}
