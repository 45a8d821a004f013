//! The cluster token: what internal ports ask for.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use subtle::ConstantTimeEq;

use crate::problem::{Problem, kinds};
use crate::{Cluster, Secret};

/// The field in which one role sends the token to another; `Authorization` may carry the user's own token.
pub const TOKEN_FIELD: HeaderName = HeaderName::from_static("sixfold-token");

/// The field by which a role of the house says that it refused a caller for its cluster token.
///
/// It tells a caller that acts for somebody else, such as a gateway, that it is itself at fault and not
/// whoever asked it.
pub const REFUSED_FIELD: HeaderName = HeaderName::from_static("sixfold-refused");

/// What [`REFUSED_FIELD`] says then.
pub const CLUSTER_TOKEN_REFUSED: &str = "cluster-token";

/// The token that proves a caller belongs to the house, or the absence of one (loopback only).
#[derive(Debug, Clone, Default)]
pub struct ClusterToken(Option<Secret>);

impl From<&Cluster> for ClusterToken {
    fn from(cluster: &Cluster) -> Self {
        Self(cluster.token.clone())
    }
}

impl ClusterToken {
    /// Wraps a token.
    pub fn new(token: Option<Secret>) -> Self {
        Self(token)
    }

    /// Gives the token, if there is one.
    pub fn secret(&self) -> Option<&Secret> {
        self.0.as_ref()
    }

    /// Tells whether a token is configured at all.
    pub fn is_set(&self) -> bool {
        self.0.is_some()
    }

    /// Tells whether a presented token is ours, in time that does not depend on where they differ.
    pub fn matches(&self, presented: &str) -> bool {
        match &self.0 {
            None => true,
            Some(secret) => secret.expose().as_bytes().ct_eq(presented.as_bytes()).into(),
        }
    }

    /// Tells whether a request carries the token, in [`TOKEN_FIELD`] or as a bearer token.
    ///
    /// Without a token configured every caller is trusted; such a role listens on loopback only.
    pub fn authorizes(&self, fields: &HeaderMap) -> bool {
        self.0.is_none() || presented(fields).is_some_and(|token| self.matches(token))
    }

    /// Derives the credential of one namespace: its name, a dot, and the HMAC-SHA-256 of its name under the
    /// token as base64url.
    ///
    /// So a service can be given access to its own records and to nothing else, and nothing more needs
    /// to be configured or stored.
    pub fn namespace_credential(&self, namespace: &str) -> Option<Secret> {
        let secret = self.0.as_ref()?;
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret.expose().as_bytes());
        let tag = aws_lc_rs::hmac::sign(&key, format!("sixfold namespace {namespace}").as_bytes());
        Some(Secret::new(format!("{namespace}.{}", BASE64_URL_SAFE_NO_PAD.encode(tag))))
    }
}

/// Gives the token a request presents.
pub fn presented(fields: &HeaderMap) -> Option<&str> {
    if let Some(token) = fields.get(TOKEN_FIELD) {
        return token.to_str().ok();
    }
    fields.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")
}

/// Axum middleware that lets only callers with the token pass:
/// `from_fn_with_state(token, process::token::require)`.
pub async fn require(State(token): State<ClusterToken>, request: Request, next: Next) -> Response {
    if token.authorizes(request.headers()) {
        return next.run(request).await;
    }
    let problem = Problem::new(kinds::UNAUTHENTICATED).detail("this port takes the cluster token");
    let mut refused = problem.into_response();
    refused.headers_mut().insert(REFUSED_FIELD, HeaderValue::from_static(CLUSTER_TOKEN_REFUSED));
    refused
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_token_authorizes() {
        let token = ClusterToken::new(Some(Secret::new("right")));
        let mut fields = HeaderMap::new();
        assert!(!token.authorizes(&fields));
        fields.insert(header::AUTHORIZATION, "Bearer wrong".parse().unwrap());
        assert!(!token.authorizes(&fields));
        fields.insert(header::AUTHORIZATION, "Bearer right".parse().unwrap());
        assert!(token.authorizes(&fields));
        fields.insert(TOKEN_FIELD, "wrong".parse().unwrap());
        assert!(!token.authorizes(&fields), "the role's own field decides");
    }

    #[test]
    fn a_namespace_has_a_credential_of_its_own() {
        let token = ClusterToken::new(Some(Secret::new("right")));
        let catalog = token.namespace_credential("catalog").unwrap();
        assert_ne!(catalog, token.namespace_credential("orders").unwrap());
        assert!(!token.matches(catalog.expose()));
    }
}
