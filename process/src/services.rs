//! The directory of services: which name answers at which addresses.
//!
//! The gateway routes to a service by name, a worker delivers to one by name, and a service that Sixfold
//! runs listens at its own address here, so an address is written once.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The section `[services]`: each key is a service's name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Services(pub BTreeMap<String, Service>);

/// Where one service answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// The addresses of its instances, as `host:port`.
    pub instances: Vec<String>,
    /// Whether it is part of the house: it is then sent the cluster token and the caller's identity.
    #[serde(default)]
    pub internal: bool,
}

impl Default for Services {
    fn default() -> Self {
        let internal = |address: &str| Service { instances: vec![address.to_owned()], internal: true };
        Self(BTreeMap::from([
            ("accounts".to_owned(), internal("127.0.0.1:5010")),
            ("catalog".to_owned(), internal("127.0.0.1:5001")),
            ("orders".to_owned(), internal("127.0.0.1:5003")),
            ("worker".to_owned(), internal("127.0.0.1:5005")),
        ]))
    }
}

impl Services {
    /// Finds a service by name.
    pub fn find(&self, name: &str) -> Option<&Service> {
        self.0.get(name)
    }
}
