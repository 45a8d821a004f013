//! The plain list of what `sixfold up` starts.

use crate::role::Role;
use crate::settings::Settings;

/// Every role of the house: one load balancer, a gateway per address, every service, one of the rest.
pub(crate) fn roles(settings: &Settings) -> Vec<Role> {
    let mut roles = vec![Role::LoadBalancer];
    roles.extend(settings.api_gateway.listen.iter().map(|listen| Role::Gateway { listen: listen.clone() }));
    roles.extend(
        settings.microservice.services.keys().map(|name| Role::Service { name: name.clone(), listen: None }),
    );
    roles.push(Role::Worker);
    if !settings.cache.is_external() {
        roles.push(Role::Cache);
    }
    roles.push(Role::Database);
    roles
}
