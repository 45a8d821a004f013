//! Who may do what on the database's port.
//!
//! The cluster token opens everything. A namespace's credential opens the records and changes of that
//! namespace and nothing else. Without a token (then we listen on loopback only) everything is open.

use http::HeaderMap;
use process::{ClusterToken, token};

/// What a request presented, before it is known which namespace it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Access {
    /// The cluster token, or none is needed.
    All,
    /// Something else: perhaps a namespace's credential.
    Presented(String),
}

impl Access {
    /// Reads what a request presents; `None` when it presents nothing and something is needed.
    pub(crate) fn of(fields: &HeaderMap, cluster: &ClusterToken) -> Option<Self> {
        if cluster.authorizes(fields) {
            return Some(Self::All);
        }
        token::presented(fields).map(|presented| Self::Presented(presented.to_owned()))
    }

    /// Checks that it opens the records of one namespace, or of all with `None`.
    pub(crate) fn check(&self, namespace: Option<&str>, cluster: &ClusterToken) -> Result<(), Denied> {
        let Self::Presented(presented) = self else { return Ok(()) };
        // Credentials of earlier versions are the part after the dot alone, and go on opening their own namespace.
        let named = presented.rsplit_once('.').map(|(name, _)| name);
        if namespace.is_some_and(|namespace| {
            let spelled = format!("{namespace}.{presented}");
            is_credential(cluster, namespace, presented) || is_credential(cluster, namespace, &spelled)
        }) {
            return Ok(());
        }
        match named.is_some_and(|named| is_credential(cluster, named, presented)) {
            true => Err(Denied::Elsewhere),
            false => Err(Denied::Stranger),
        }
    }
}

/// Why what was presented does not open what was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Denied {
    /// It is the credential of another namespace.
    Elsewhere,
    /// It is nothing we gave out.
    Stranger,
}

fn is_credential(cluster: &ClusterToken, namespace: &str, presented: &str) -> bool {
    let own = cluster.namespace_credential(namespace);
    // `matches` takes as long wherever the two differ; a token that is not set matches everything.
    own.is_some() && ClusterToken::new(own).matches(presented)
}

#[cfg(test)]
mod tests {
    use process::Secret;

    use super::*;

    fn presenting(secret: &str) -> HeaderMap {
        HeaderMap::from_iter([(token::TOKEN_FIELD, secret.parse().unwrap())])
    }

    #[test]
    fn a_namespace_s_credential_opens_that_namespace_only() {
        let cluster = ClusterToken::new(Some(Secret::new("house")));
        let credential = cluster.namespace_credential("orders").unwrap();
        let access = Access::of(&presenting(credential.expose()), &cluster).unwrap();
        assert_eq!(access.check(Some("orders"), &cluster), Ok(()));
        assert_eq!(access.check(Some("catalog"), &cluster), Err(Denied::Elsewhere));
        assert_eq!(access.check(None, &cluster), Err(Denied::Elsewhere));
        let before = credential.expose().rsplit_once('.').unwrap().1;
        let access = Access::of(&presenting(before), &cluster).unwrap();
        assert_eq!(access.check(Some("orders"), &cluster), Ok(()));
        for made_up in ["guess", "orders.guess", "."] {
            let access = Access::of(&presenting(made_up), &cluster).unwrap();
            assert_eq!(access.check(Some("orders"), &cluster), Err(Denied::Stranger), "{made_up}");
        }
    }

    #[test]
    fn the_cluster_token_opens_everything_and_nothing_opens_nothing() {
        let cluster = ClusterToken::new(Some(Secret::new("house")));
        assert_eq!(Access::of(&presenting("house"), &cluster), Some(Access::All));
        assert_eq!(Access::All.check(None, &cluster), Ok(()));
        assert_eq!(Access::of(&HeaderMap::new(), &cluster), None);
        let open = ClusterToken::default();
        assert_eq!(Access::of(&HeaderMap::new(), &open), Some(Access::All));
    }
}
