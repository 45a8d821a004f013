//! The section `[microservice]`: which services there are, and what each collection declares.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use database::find::Field;
use database::find::field::ID;
use database::limits::{DOCUMENT_LIMIT, NAME_LIMIT, is_name};
use process::{ConfigError, Secret, Services};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::accounts::refuse_password;
use crate::declare;
use crate::rules;
use crate::schema::{self, Schema};

/// The largest `max_body`: what the database takes as one record, less room for the fields of the server.
const MAX_BODY_LIMIT: u64 = DOCUMENT_LIMIT as u64 - (24 << 10);

/// The section `[microservice]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// What the accounts service goes by.
    pub accounts: Accounts,
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

/// One collection of records.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Collection {
    /// The JSON Schema its records follow: a file relative to the config file, or `products` or `orders`
    /// for the ones within the program. Without one any object is a record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schema: Option<String>,
    /// How long a read record may stay in the shared cache; `0s` reads past the cache.
    #[serde(with = "process::duration")]
    pub cache_ttl: Duration,
    /// Whether changing a record asks for `If-Match` (428 without).
    pub require_if_match: bool,
    /// The largest body.
    #[serde(with = "process::size")]
    pub max_body: u64,
    /// The most records of one page.
    pub page_limit: u32,
    /// What listings are filtered and ordered by: each `"field"`, or `"field,-other"` for several together and
    /// for falling order. The type is the schema's; where that has none, `"field:text"`, `:number` or `:boolean`.
    pub indexes: Vec<String>,
    /// What no two records may have the same: each `"field"`, or `"field,other"` for several together.
    pub unique: Vec<String>,
    /// Indexes and unique fields of before, to be removed; what is only no longer declared stays.
    pub dropped_indexes: Vec<String>,
    /// Likewise of `unique`.
    pub dropped_unique: Vec<String>,
    /// Whether filters may ask about fields that no index has; then a page looks at up to 10,000 records.
    pub scan: bool,
    /// Fields only the house sets, with the value a new record starts with; clients may not send them.
    pub server_fields: BTreeMap<String, Value>,
    /// The field that holds whom a record belongs to: its maker, by the name a gateway tells. Only the server
    /// sets it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Fields of a new record that are computed where the client leaves them out.
    pub defaults: BTreeMap<String, Computed>,
    /// Fields that are set when the record is made and never changed.
    pub readonly: Vec<String>,
    /// Who may do what.
    pub rules: Rules,
    /// Jobs put into a queue in the same transaction as a new record.
    pub on_create: Vec<Enqueue>,
    /// Likewise when a record is changed.
    pub on_update: Vec<Enqueue>,
    /// Likewise when it is deleted.
    pub on_delete: Vec<Enqueue>,
}

/// Who may do what with a collection's records: each a list of roles, `owner` and `public`. Without a list
/// whoever the gateway lets pass may; an empty one is nobody.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rules {
    /// Who lists; an owner gets its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub list: Option<Vec<String>>,
    /// Who reads one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read: Option<Vec<String>>,
    /// Who makes one; `owner` is everybody who has a name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub create: Option<Vec<String>>,
    /// Who changes one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub update: Option<Vec<String>>,
    /// Who deletes one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delete: Option<Vec<String>>,
    /// What a caller sees at all, written like the query of a listing; `$subject` is the caller's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows: Option<String>,
    /// The roles that see every record, whatever `rows` says.
    pub all_rows: Vec<String>,
}

/// What the server computes for a field that a client leaves out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Computed {
    /// The present time, RFC 3339.
    Now,
    /// A new UUID, version 7.
    Uuid,
    /// The caller's name; nothing where there is none.
    Caller,
}

/// A job that a change causes; its payload names the record: `{"namespace","collection","id"}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Enqueue {
    /// The queue.
    pub queue: String,
    /// What the worker is to do.
    pub kind: String,
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

impl Default for Collection {
    fn default() -> Self {
        Self {
            schema: None,
            cache_ttl: Duration::from_secs(60),
            require_if_match: false,
            max_body: 256 << 10,
            page_limit: 200,
            indexes: Vec::new(),
            unique: Vec::new(),
            dropped_indexes: Vec::new(),
            dropped_unique: Vec::new(),
            scan: false,
            server_fields: BTreeMap::new(),
            owner: None,
            defaults: BTreeMap::new(),
            readonly: Vec::new(),
            rules: Rules::default(),
            on_create: Vec::new(),
            on_update: Vec::new(),
            on_delete: Vec::new(),
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
            services: BTreeMap::from([
                ("accounts".to_owned(), Service { accounts: true, ..Service::default() }),
                ("catalog".to_owned(), with("products", products)),
                ("orders".to_owned(), with("orders", orders)),
            ]),
        }
    }
}

impl Config {
    /// Makes the schema files' paths relative to the folder of the config file.
    pub fn resolve_paths(&mut self, folder: &Path) {
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

impl Collection {
    fn validate(&self, key: &str, name: &str) -> Result<(), ConfigError> {
        check_name(key, name)?;
        if !(1..=database::record::PAGE_LIMIT).contains(&self.page_limit) {
            let message = format!("must be 1 to {}", database::record::PAGE_LIMIT);
            return Err(ConfigError::inconsistent(format!("{key}.page_limit"), message));
        }
        if !(1..=MAX_BODY_LIMIT).contains(&self.max_body) {
            let message = format!("must be 1B to {}", process::size::format(MAX_BODY_LIMIT));
            return Err(ConfigError::inconsistent(format!("{key}.max_body"), message));
        }
        let effects =
            [("on_create", &self.on_create), ("on_update", &self.on_update), ("on_delete", &self.on_delete)];
        for (event, enqueue) in
            effects.iter().flat_map(|(event, jobs)| jobs.iter().map(move |job| (event, job)))
        {
            for (part, name) in [("queue", &enqueue.queue), ("kind", &enqueue.kind)] {
                if !is_name(name) {
                    let message = format!(
                        "the {part} `{name}` has not 1 to {NAME_LIMIT} letters, digits, `_`, `-` or `.`"
                    );
                    return Err(ConfigError::inconsistent(format!("{key}.{event}"), message));
                }
            }
        }
        let schema = Schema::load(self)
            .map_err(|reason| ConfigError::inconsistent(format!("{key}.schema"), reason))?;
        let named = |(part, reason)| ConfigError::inconsistent(format!("{key}.{part}"), reason);
        let declaration = declare::declaration(name, self, &schema).map_err(named)?;
        let rules = rules::Rules::read(self, &schema).map_err(named)?;
        let is_indexed = |field: &Field| {
            field.as_str() == ID
                || declaration.indexes.iter().any(|index| index.fields().contains(&field.to_string()))
        };
        if let Some(field) = rules.fields().into_iter().find(|field| !self.scan && !is_indexed(field)) {
            let message = format!("listings are narrowed by `{field}`, so it must stand in `indexes`");
            return Err(ConfigError::inconsistent(format!("{key}.rules"), message));
        }
        Ok(())
    }
}

/// Refuses names that the database refuses, and those in which lower and upper case could be confused.
fn check_name(key: &str, name: &str) -> Result<(), ConfigError> {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_');
    let begins_well = name.bytes().next().is_some_and(|first| first.is_ascii_lowercase());
    if begins_well && name.bytes().all(fits) && is_name(name) {
        return Ok(());
    }
    let message = format!(
        "a name is a lower-case letter and then lower-case letters, digits, `-` and `_`, at most {NAME_LIMIT} in all"
    );
    Err(ConfigError::inconsistent(key, message))
}

#[cfg(test)]
mod tests {
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
        let mut config = Config::default();
        let catalog = config.services.get_mut("catalog").unwrap();
        catalog.collections.insert("x".repeat(NAME_LIMIT + 1), Collection::default());
        assert!(config.validate(&Services::default()).unwrap_err().to_string().contains("at most 64"));
    }
}
