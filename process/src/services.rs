//! The directory of services: which name answers at which addresses.
//!
//! The gateway routes to a service by name, a worker delivers to one by name, and a service that Sixfold
//! runs listens at its own address here, so an address is written once.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Weighted;

/// Where a service publishes the schemas of its collections, by which gateways check bodies.
pub const SCHEMAS_PATH: &str = "/.well-known/sixfold/schemas";

/// The section `[services]`: each key is a service's name.
///
/// The services of the house are there unless the file says otherwise of one; naming another adds it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(from = "BTreeMap<String, Service>")]
pub struct Services(pub BTreeMap<String, Service>);

/// Where one service answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// The addresses of its instances, as `host:port`; their weights are for gateways, which balance over them.
    pub instances: Vec<Weighted>,
    /// Whether it is part of the house: it is then sent the cluster token and the caller's identity.
    #[serde(default)]
    pub internal: bool,
}

impl Default for Services {
    fn default() -> Self {
        let internal = |address: &str| Service { instances: vec![address.into()], internal: true };
        Self(BTreeMap::from([
            ("accounts".to_owned(), internal("127.0.0.1:5010")),
            ("catalog".to_owned(), internal("127.0.0.1:5001")),
            ("orders".to_owned(), internal("127.0.0.1:5003")),
            ("worker".to_owned(), internal("127.0.0.1:5005")),
        ]))
    }
}

impl From<BTreeMap<String, Service>> for Services {
    fn from(configured: BTreeMap<String, Service>) -> Self {
        let mut services = Self::default();
        services.0.extend(configured);
        services
    }
}

impl Services {
    /// Finds a service by name.
    pub fn find(&self, name: &str) -> Option<&Service> {
        self.0.get(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_of_ones_own_stands_beside_those_of_the_house() {
        let text =
            "shop = { instances = [\"127.0.0.1:9000\"] }\ncatalog = { instances = [\"a:1\", \"b:1\"] }";
        let services: Services = toml::from_str(text).unwrap();
        assert!(!services.find("shop").unwrap().internal);
        assert_eq!(services.find("catalog").unwrap().instances, ["a:1".into(), "b:1".into()]);
        assert_eq!(services.find("worker").unwrap().instances, ["127.0.0.1:5005".into()]);
    }
}
