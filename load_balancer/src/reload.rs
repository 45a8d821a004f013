//! Another configuration for a balancer that runs: what changes at once, and what waits for a restart.

use std::sync::Arc;

use process::{Reload, Shutdown};
use serde_json::Value;

use crate::Config;
use crate::discovery::Membership;

/// What a running process cannot change, as JSON Pointers into the section: its sockets and threads, what each
/// connection was granted when it came, and the file it keeps its state in.
const FIXED: [&str; 11] = [
    "/listen",
    "/threads",
    "/state",
    "/max_connections",
    "/max_connections_per_address",
    "/max_streams",
    "/header_timeout",
    "/idle_timeout",
    "/backend_idle_timeout",
    "/proxy_protocol",
    "/protocol",
];

/// Gives each new configuration to the membership and to `take`, until the shutdown.
///
/// Nothing in flight is disturbed, and what is known of backends that stay is kept. `take` does what neither
/// members nor their sources are: how backends are chosen and guarded, and what each thread does with a
/// request. Settings that cannot change are named in a warning and hold from the next start on.
pub(crate) async fn follow(
    mut settings: Reload<Config>,
    members: &Membership,
    take: impl Fn(&Arc<Config>),
    shutdown: &Shutdown,
) {
    let first = settings.current();
    loop {
        let new = tokio::select! {
            new = settings.changed() => new,
            () = shutdown.requested() => return,
        };
        for key in fixed_changes(&first, &new) {
            tracing::warn!(
                key,
                "this setting cannot change while the load balancer runs; it will from its next start"
            );
        }
        take(&new);
        members.configure(&new).await;
        tracing::info!("the load balancer has its new configuration");
    }
}

/// Names the settings that differ and cannot change.
fn fixed_changes(first: &Config, new: &Config) -> Vec<String> {
    let json = |config| serde_json::to_value(config).unwrap_or(Value::Null);
    // Certificates may change; whether there are any may not.
    let (first_tls, new_tls) = (first.tls.is_enabled(), new.tls.is_enabled());
    let (first, new) = (json(first), json(new));
    let differs = |pointer: &&str| first.pointer(pointer) != new.pointer(pointer);
    let key = |pointer: &str| format!("load_balancer{}", pointer.replace('/', "."));
    let is_tls_switched = first_tls != new_tls;
    let switched = is_tls_switched.then(|| "load_balancer.tls.certificates".to_owned());
    FIXED.into_iter().filter(differs).map(key).chain(switched).collect()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn what_cannot_change_is_named_and_nothing_else() {
        let first = Config::default();
        let mut new = Config { retries: 9, backends: Vec::new(), ..Config::default() };
        assert!(fixed_changes(&first, &new).is_empty());
        new.listen = "127.0.0.1:1".to_owned();
        new.state = Some(PathBuf::from("state.json"));
        assert_eq!(fixed_changes(&first, &new), ["load_balancer.listen", "load_balancer.state"]);
    }

    #[test]
    fn every_fixed_setting_exists() {
        let config = Config { state: Some(PathBuf::from("a")), ..Config::default() };
        let json = serde_json::to_value(config).unwrap();
        assert!(FIXED.iter().all(|pointer| json.pointer(pointer).is_some()));
    }
}
