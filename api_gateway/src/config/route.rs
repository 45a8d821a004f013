//! One route as configured, and the routes that are built in.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::RateConfig;

/// The rate of one client's attempts to log in, register or refresh: a person needs no more, a guesser does.
const LOGIN_RATE: RateConfig = RateConfig { per_second: 10, burst: 20 };

/// One `[[api_gateway.routes]]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteConfig {
    /// The path pattern: `/shop`, `/shop/{id}`, `/shop/{*rest}`, of which the last does not match `/shop`.
    pub path: String,
    /// The service, by its name in `[services]`.
    pub service: String,
    /// The host it answers for, without a port; without one, every host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The methods it takes; without any, all that no other route of the same path takes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<String>,
    /// Whether it needs no token; one that is sent must still be valid.
    #[serde(default)]
    pub public: bool,
    /// Roles of which the user must have one; without any, every user may.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
    /// How long the service may take to send its response head.
    #[serde(default, with = "optional_duration", skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// How long the whole exchange may take, with both bodies; without it a stream may last.
    #[serde(default, with = "optional_duration", skip_serializing_if = "Option::is_none")]
    pub total_timeout: Option<Duration>,
    /// How long connecting to the service may take.
    #[serde(default, with = "optional_duration", skip_serializing_if = "Option::is_none")]
    pub connect_timeout: Option<Duration>,
    /// The largest request body.
    #[serde(default, with = "optional_size", skip_serializing_if = "Option::is_none")]
    pub body_limit: Option<u64>,
    /// A rate of its own, beside the one for all routes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<RateConfig>,
    /// Whether bodies are checked here against the schemas the service publishes.
    #[serde(default)]
    pub validate: bool,
    /// What is cut off the front of the path before the service sees it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strip_prefix: Option<String>,
}

/// Makes the routes to the services of the house.
pub(super) fn built_in() -> Vec<RouteConfig> {
    let route = |path: &str, service: &str| RouteConfig {
        path: path.to_owned(),
        service: service.to_owned(),
        ..RouteConfig::default()
    };
    let methods = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let admin = || vec!["admin".to_owned()];
    let login = |path: &str| RouteConfig {
        methods: methods(&["POST"]),
        public: true,
        rate: Some(LOGIN_RATE),
        ..route(path, "accounts")
    };
    vec![
        login("/auth/login"),
        login("/auth/register"),
        login("/auth/refresh"),
        RouteConfig { public: true, ..route("/auth/{*rest}", "accounts") },
        RouteConfig {
            public: true,
            methods: methods(&["GET", "HEAD"]),
            ..route("/.well-known/jwks.json", "accounts")
        },
        RouteConfig {
            public: true,
            methods: methods(&["GET", "HEAD"]),
            ..route("/catalog/{*rest}", "catalog")
        },
        RouteConfig { roles: admin(), validate: true, ..route("/catalog/{*rest}", "catalog") },
        RouteConfig { validate: true, ..route("/orders/{*rest}", "orders") },
        // `{*rest}` takes at least one character, and the worker answers at the bare path too.
        RouteConfig { roles: admin(), ..route("/queues", "worker") },
        RouteConfig { roles: admin(), ..route("/queues/{*rest}", "worker") },
        RouteConfig { roles: admin(), ..route("/jobs/{*rest}", "worker") },
    ]
}

/// [`process::duration`] for a key that may be absent.
mod optional_duration {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(
        value: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match value {
            Some(duration) => process::duration::serialize(duration, serializer),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| process::duration::parse(&text).map_err(D::Error::custom)).transpose()
    }
}

/// [`process::size`] for a key that may be absent.
mod optional_size {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(value: &Option<u64>, serializer: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(size) => process::size::serialize(size, serializer),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| process::size::parse(&text).map_err(D::Error::custom)).transpose()
    }
}
