//! The section `[microservice]`: which services there are, and what each collection declares.

mod collection;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use process::{ConfigError, Secret, Services};
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub(crate) use self::collection::MAX_BODY_LIMIT;
use self::collection::check_name;
pub(crate) use self::collection::{Collection, Computed, Enqueue, Rules};
use crate::accounts::refuse_password;
use crate::schema;

/// The section `[microservice]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// What the accounts service goes by.
    pub accounts: Accounts,
    /// The keys of sensitive fields.
    pub sensitive: Sensitive,
    /// The services this program can be, by name; declaring any replaces catalog, orders and accounts.
    pub services: BTreeMap<String, Service>,
}

/// One service: a namespace with collections, or the accounts.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Service {
    /// Where it listens; its first instance in `[services]` without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen: Option<String>,
    /// Whether it is the accounts service, which has no other collections.
    pub accounts: bool,
    /// Its collections by name, served at `/SERVICE/COLLECTION`.
    pub collections: BTreeMap<String, Collection>,
}

/// The section `[microservice.sensitive]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sensitive {
    /// The file with the key that sensitive fields are sealed with: 32 bytes in base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
    /// Files of earlier keys, with which what was sealed then is opened.
    pub previous_key_files: Vec<PathBuf>,
}

/// The section `[microservice.accounts]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Accounts {
    /// Whether anyone may make an account of their own.
    pub registration: bool,
    /// The password of the first `admin`; a random one is made and shown once without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admin_password: Option<Secret>,
    /// Who its tokens say issued them (`iss`); the gateways ask for the same in `api_gateway.token`.
    pub issuer: String,
    /// Whom its tokens are for (`aud`); likewise.
    pub audience: String,
    /// How long an access token is good for; it cannot be revoked sooner.
    #[serde(with = "process::duration")]
    pub access_ttl: Duration,
    /// How long a login lasts, however often its tokens are refreshed.
    #[serde(with = "process::duration")]
    pub refresh_ttl: Duration,
    /// How many passwords are hashed at a time; each takes one core and 19 MiB.
    pub hashes: usize,
}

impl Default for Accounts {
    fn default() -> Self {
        Self {
            registration: false,
            admin_password: None,
            issuer: "sixfold".to_owned(),
            audience: "sixfold".to_owned(),
            access_ttl: Duration::from_secs(15 * 60),
            refresh_ttl: Duration::from_secs(30 * 24 * 3600),
            hashes: 2,
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        let products = Collection {
            schema: Some("products".to_owned()),
            indexes: ["price", "name", "category,price"].map(str::to_owned).to_vec(),
            ..Collection::default()
        };
        let orders = Collection {
            schema: Some("orders".to_owned()),
            indexes: ["status,created_at", "product_id"].map(str::to_owned).to_vec(),
            server_fields: BTreeMap::from([("status".to_owned(), Value::from("pending"))]),
            on_create: vec![Enqueue { queue: "orders".to_owned(), kind: "order.confirm".to_owned() }],
            ..Collection::default()
        };
        let with = |name: &str, collection| Service {
            collections: BTreeMap::from([(name.to_owned(), collection)]),
            ..Service::default()
        };
        Self {
            accounts: Accounts::default(),
            sensitive: Sensitive::default(),
            services: BTreeMap::from([
                ("accounts".to_owned(), Service { accounts: true, ..Service::default() }),
                ("catalog".to_owned(), with("products", products)),
                ("orders".to_owned(), with("orders", orders)),
            ]),
        }
    }
}

impl Config {
    /// Makes the paths of schema and key files relative to the folder of the config file.
    pub fn resolve_paths(&mut self, folder: &Path) {
        let Sensitive { key_file, previous_key_files } = &mut self.sensitive;
        for file in key_file.iter_mut().chain(previous_key_files) {
            *file = folder.join(&*file);
        }
        let collections = self.services.values_mut().flat_map(|service| service.collections.values_mut());
        for schema in collections.filter_map(|collection| collection.schema.as_mut()) {
            if !schema::is_built_in(schema) {
                *schema = folder.join(&*schema).to_string_lossy().into_owned();
            }
        }
    }

    /// Checks that the settings go together, that every service has an address and every schema can be read.
    pub fn validate(&self, services: &Services) -> Result<(), ConfigError> {
        let accounts = &self.accounts;
        if accounts.access_ttl.as_secs() == 0 || accounts.refresh_ttl < accounts.access_ttl {
            return Err(ConfigError::inconsistent(
                "microservice.accounts",
                "refresh_ttl must be as long as access_ttl or longer, and access_ttl at least 1s",
            ));
        }
        if accounts.hashes == 0 {
            return Err(ConfigError::inconsistent("microservice.accounts.hashes", "must be at least 1"));
        }
        if let Some(reason) = accounts.admin_password.as_ref().and_then(|own| refuse_password(own.expose())) {
            return Err(ConfigError::inconsistent(
                "microservice.accounts.admin_password",
                format!("(or the variable SIXFOLD_ADMIN_PASSWORD) cannot be chosen: {reason}"),
            ));
        }
        let has_sensitive = self.services.values().any(Service::has_sensitive_fields);
        if has_sensitive && self.sensitive.key_file.is_none() {
            // The file itself is read by the services that need it; other hosts need not have it.
            let message = "is missing, and a collection has sensitive fields";
            return Err(ConfigError::inconsistent("microservice.sensitive.key_file", message));
        }
        self.services.iter().try_for_each(|(name, service)| {
            if service.listen_address(name, services).is_none() {
                return Err(ConfigError::inconsistent(
                    format!("microservice.services.{name}.listen"),
                    format!("is missing, and [services.{name}] names no instance to take it from"),
                ));
            }
            service.validate(name)
        })
    }
}

impl Service {
    /// Gives the address the service listens at.
    pub fn listen_address<'a>(&'a self, name: &str, services: &'a Services) -> Option<&'a str> {
        let own = self.listen.as_deref();
        own.or_else(|| Some(services.find(name)?.instances.first()?.address.as_str()))
    }

    /// Tells whether a collection declares sensitive fields.
    pub(crate) fn has_sensitive_fields(&self) -> bool {
        self.collections.values().any(|collection| !collection.sensitive.is_empty())
    }

    fn validate(&self, name: &str) -> Result<(), ConfigError> {
        let key = format!("microservice.services.{name}");
        check_name(&key, name)?;
        match (self.accounts, self.collections.is_empty()) {
            (true, false) => Err(ConfigError::inconsistent(key, "the accounts service has no collections")),
            (false, true) => Err(ConfigError::inconsistent(key, "a service needs a collection")),
            _ => self.collections.iter().try_for_each(|(name, collection)| {
                collection.validate(&format!("{key}.collections.{name}"), name)
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use database::limits::NAME_LIMIT;
    use serde_json::json;

    use super::*;

    #[test]
    fn the_defaults_are_valid_and_read_back_as_written() {
        let config = Config::default();
        config.validate(&Services::default()).unwrap();
        let text = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<Config>(&text).unwrap(), config);
    }

    #[test]
    fn what_does_not_go_together_is_named() {
        let fault = |change: &dyn Fn(&mut Config)| {
            let mut config = Config::default();
            change(&mut config);
            config.validate(&Services::default()).unwrap_err().to_string()
        };
        let text =
            fault(&|c| c.services.get_mut("accounts").unwrap().collections.extend([Default::default()]));
        assert!(text.starts_with("microservice.services.accounts: "), "{text}");
        let text = fault(&|c| {
            let catalog = c.services.get_mut("catalog").unwrap();
            catalog.collections.get_mut("products").unwrap().schema = Some("no/such.json".into());
        });
        assert!(text.contains("collections.products.schema: no/such.json"), "{text}");
        let text = fault(&|c| {
            let catalog = c.services.get_mut("catalog").unwrap();
            catalog.collections.insert("Big Things".into(), Collection::default());
        });
        assert!(text.contains("a name is"), "{text}");
    }

    #[test]
    fn the_first_admin_s_password_follows_the_rule_of_every_password() {
        let mut config = Config::default();
        config.accounts.admin_password = Some(Secret::new("short"));
        let text = config.validate(&Services::default()).unwrap_err().to_string();
        assert!(text.starts_with("microservice.accounts.admin_password: "), "{text}");
        assert!(text.contains("SIXFOLD_ADMIN_PASSWORD") && text.contains("8 to 1024"), "{text}");
        config.accounts.admin_password = Some(Secret::new("long enough"));
        config.validate(&Services::default()).unwrap();
    }

    #[test]
    fn what_the_server_sets_is_what_the_schema_allows() {
        let folder = tempfile::tempdir().unwrap();
        let schema = folder.path().join("schema.json");
        let text = r#"{"properties": {
            "n": {"type": "number"}, "text": {"type": "string"}, "day": {"type": "string", "maxLength": 10},
            "set": false, "open": {}
        }, "additionalProperties": false}"#;
        std::fs::write(&schema, text).unwrap();
        let check = |settings: serde_json::Value| {
            let mut collection: Collection = serde_json::from_value(settings).unwrap();
            collection.schema = Some(schema.to_str().unwrap().to_owned());
            let mut config = Config::default();
            config.services.get_mut("catalog").unwrap().collections.insert("things".into(), collection);
            config.validate(&Services::default()).map_err(|error| error.to_string())
        };
        for (settings, named) in [
            (json!({"defaults": {"n": "now"}}), "things.defaults: `n`"),
            (json!({"defaults": {"n": "uuid"}}), "things.defaults: `n`"),
            (json!({"defaults": {"day": "now"}}), "things.defaults: `day`"),
            (json!({"defaults": {"n": "caller"}}), "things.defaults: `n`"),
            (json!({"owner": "by", "defaults": {"n": "owner"}}), "things.defaults: `n`"),
            (json!({"server_fields": {"n": "1"}}), "things.server_fields: `n`"),
            (json!({"server_fields": {"text": {"a": 1}}}), "things.server_fields: `text`"),
        ] {
            let text = check(settings).unwrap_err();
            assert!(text.contains(named), "{text}");
        }
        for settings in [
            json!({"defaults": {"text": "now", "open": "uuid"}, "server_fields": {"n": 1, "set": "s", "other": 2}}),
            json!({"defaults": {"text": "caller", "other": "uuid"}}),
            json!({"owner": "by", "owner_claim": "tenant", "defaults": {"n": "owner"}}),
        ] {
            check(settings).unwrap();
        }
    }

    #[test]
    fn a_name_the_database_would_refuse_is_refused_at_once() {
        let fault = |change: &dyn Fn(&mut Collection)| {
            let mut config = Config::default();
            let catalog = config.services.get_mut("catalog").unwrap();
            change(catalog.collections.get_mut("products").unwrap());
            config.validate(&Services::default()).map_err(|error| error.to_string())
        };
        let enqueue = |queue: &str, kind: &str| vec![Enqueue { queue: queue.into(), kind: kind.into() }];
        fault(&|products| products.on_create = enqueue("default", &"x".repeat(NAME_LIMIT))).unwrap();
        for (queue, kind, named) in [
            ("a queue", "report", "`a queue`"),
            ("q", "", "kind"),
            ("q", &*"x".repeat(NAME_LIMIT + 1), "kind"),
        ] {
            let text = fault(&|products| products.on_create = enqueue(queue, kind)).unwrap_err();
            assert!(text.contains("products.on_create: ") && text.contains(named), "{text}");
        }
        let text =
            fault(&|products| products.on_update = vec![enqueue("q", "report").remove(0); 9]).unwrap_err();
        assert!(text.contains("products.on_update: at most 8"), "{text}");
        let mut config = Config::default();
        let catalog = config.services.get_mut("catalog").unwrap();
        catalog.collections.insert("x".repeat(NAME_LIMIT + 1), Collection::default());
        assert!(config.validate(&Services::default()).unwrap_err().to_string().contains("at most 64"));
    }
}
