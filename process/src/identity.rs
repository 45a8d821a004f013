//! Who a request is from, as a gateway tells it to a service of the house.
//!
//! A gateway checks the user's token and sends `Sixfold-Subject` and `Sixfold-Roles` beside the cluster
//! token. A service believes them only from a caller that the cluster token authorizes; a gateway removes
//! whatever a client sent under these names.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::token::TOKEN_FIELD;

/// The field that names the authenticated user.
const SUBJECT_FIELD: HeaderName = HeaderName::from_static("sixfold-subject");

/// The field that lists the user's roles, separated by commas.
const ROLES_FIELD: HeaderName = HeaderName::from_static("sixfold-roles");

/// An authenticated user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The user's name.
    pub subject: String,
    /// The user's roles.
    pub roles: Vec<String>,
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
        }
    }

    /// Reads the identity a gateway wrote; check the cluster token first.
    pub fn read(fields: &HeaderMap) -> Option<Self> {
        let subject = fields.get(SUBJECT_FIELD)?.to_str().ok()?.to_owned();
        let roles = fields.get(ROLES_FIELD).and_then(|roles| roles.to_str().ok()).unwrap_or_default();
        let roles = roles.split(',').filter(|role| !role.is_empty()).map(str::to_owned).collect();
        Some(Self { subject, roles })
    }
}

/// Removes every field only the house may set from a client's request.
pub fn strip(fields: &mut HeaderMap) {
    fields.remove(SUBJECT_FIELD);
    fields.remove(ROLES_FIELD);
    fields.remove(TOKEN_FIELD);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_reads_back_as_written_and_a_client_cannot_bring_one() {
        let ada = Identity { subject: "ada".into(), roles: vec!["admin".into(), "user".into()] };
        let mut fields = HeaderMap::new();
        ada.write(&mut fields);
        assert_eq!(Identity::read(&fields), Some(ada));
        strip(&mut fields);
        assert_eq!(Identity::read(&fields), None);
    }
}
