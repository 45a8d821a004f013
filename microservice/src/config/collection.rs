//! One collection: what it declares, and whether that goes together.

use std::collections::BTreeMap;
use std::time::Duration;

use database::find::declaration::{HISTORY_AGE_LIMIT_MS, HISTORY_LIMIT};
use database::find::field::ID;
use database::find::{Field, Kind};
use database::limits::{DOCUMENT_LIMIT, NAME_LIMIT, is_name};
use jiff::Timestamp;
use process::ConfigError;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::declare::{self, deleted};
use crate::rules;
use crate::schema::Schema;

/// The largest `max_body`: what the database takes as one record, less room for the fields of the server.
pub(crate) const MAX_BODY_LIMIT: u64 = DOCUMENT_LIMIT as u64 - (24 << 10);

/// The most jobs of one change: a batch of changes with theirs is one transaction.
const EFFECT_LIMIT: usize = 8;

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
    /// The claim of a caller's token that stands in `owner` instead of its name; gateways are told to pass it on by
    /// `api_gateway.token.claims`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner_claim: Option<String>,
    /// Fields of a new record that are computed where the client leaves them out.
    pub defaults: BTreeMap<String, Computed>,
    /// Fields that are set when the record is made and never changed.
    pub readonly: Vec<String>,
    /// Fields that are sealed before they are stored, and answered only to whom `rules.sensitive` names and who
    /// asks for them by `fields`.
    pub sensitive: Vec<String>,
    /// Whether a deletion only puts a record out of sight, from where whom `rules.deleted` names can restore it.
    pub soft_delete: bool,
    /// How long deleted records are kept before they are purged; `0s` is for ever.
    #[serde(with = "process::duration")]
    pub keep_deleted: Duration,
    /// How many earlier versions of each record are kept, to be read at `/SERVICE/COLLECTION/ID/history`; 0 for none.
    pub history: u32,
    /// How long an earlier version is kept at most; `0s` is until there are too many.
    #[serde(with = "process::duration")]
    pub history_age: Duration,
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
    /// Who reads sensitive fields; nobody without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sensitive: Option<Vec<String>>,
    /// Who sees deleted records, restores and purges them; nobody without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deleted: Option<Vec<String>>,
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
    /// Whom a record of the caller's belongs to: its name, or what its token has in `owner_claim`.
    Owner,
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
            owner_claim: None,
            defaults: BTreeMap::new(),
            readonly: Vec::new(),
            sensitive: Vec::new(),
            soft_delete: false,
            keep_deleted: Duration::ZERO,
            history: 0,
            history_age: Duration::ZERO,
            rules: Rules::default(),
            on_create: Vec::new(),
            on_update: Vec::new(),
            on_delete: Vec::new(),
        }
    }
}

impl Collection {
    pub(super) fn validate(&self, key: &str, name: &str) -> Result<(), ConfigError> {
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
        if let Some((event, _)) = effects.iter().find(|(_, jobs)| jobs.len() > EFFECT_LIMIT) {
            let message = format!("at most {EFFECT_LIMIT} jobs");
            return Err(ConfigError::inconsistent(format!("{key}.{event}"), message));
        }
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
        self.check_values(&schema)
            .map_err(|(part, reason)| ConfigError::inconsistent(format!("{key}.{part}"), reason))?;
        let named = |(part, reason)| ConfigError::inconsistent(format!("{key}.{part}"), reason);
        self.check_sensitive()
            .map_err(|reason| ConfigError::inconsistent(format!("{key}.sensitive"), reason))?;
        self.check_past(name)
            .map_err(|(part, reason)| ConfigError::inconsistent(format!("{key}.{part}"), reason))?;
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

    /// Checks that the schema allows what the server sets: every new record would be refused for it, or contradict it.
    fn check_values(&self, schema: &Schema) -> Result<(), (&'static str, String)> {
        for (name, value) in &self.server_fields {
            if let Some(reason) = schema.refusal_of(name, value) {
                return Err(("server_fields", format!("`{name}`: {reason}")));
            }
        }
        for (name, computed) in &self.defaults {
            let kind = Field::new(name.as_str()).and_then(|field| schema.kind_of(&field));
            let refused = match computed {
                Computed::Now => schema.refusal_of(name, &Value::from(Timestamp::now().to_string())),
                Computed::Uuid => schema.refusal_of(name, &Value::from(Uuid::now_v7().to_string())),
                // Which text it will be is not known, only that it is one; a claim may be a number.
                Computed::Owner if self.owner_claim.is_some() => None,
                Computed::Caller | Computed::Owner => {
                    let is_other = kind.is_some_and(|kind| kind != Kind::Text);
                    is_other.then(|| "a name is a text, and the schema wants something else".to_owned())
                }
            };
            if let Some(reason) = refused {
                return Err(("defaults", format!("`{name}`: {reason}")));
            }
        }
        Ok(())
    }

    /// Checks what is kept of deleted and earlier records.
    fn check_past(&self, name: &str) -> Result<(), (&'static str, String)> {
        if self.history > HISTORY_LIMIT {
            return Err(("history", format!("at most {HISTORY_LIMIT} versions of a record")));
        }
        if self.history == 0 && !self.history_age.is_zero() {
            return Err(("history_age", "without `history` there is nothing to keep".to_owned()));
        }
        if self.history_age > Duration::from_millis(HISTORY_AGE_LIMIT_MS) {
            return Err(("history_age", "at most a hundred years".to_owned()));
        }
        if !self.soft_delete && !self.keep_deleted.is_zero() {
            return Err(("keep_deleted", "without `soft_delete` there is nothing to keep".to_owned()));
        }
        if self.soft_delete && !is_name(&deleted(name)) {
            let most = NAME_LIMIT - deleted("").len();
            return Err(("soft_delete", format!("the collection's name has at most {most} characters then")));
        }
        Ok(())
    }

    fn check_sensitive(&self) -> Result<(), String> {
        for (place, name) in self.sensitive.iter().enumerate() {
            let is_field = Field::new(name.as_str()).is_some_and(|field| !field.is_of_record());
            if !is_field || name.contains('.') {
                return Err(format!("`{name}` is no field of the record itself"));
            }
            if self.sensitive[..place].contains(name) {
                return Err(format!("`{name}` stands twice"));
            }
            if self.readonly.contains(name) {
                // A change with the value it has would pass, and with any other not.
                return Err(format!(
                    "`{name}` is read-only: whoever changes records could try out what it is"
                ));
            }
            if self.server_fields.contains_key(name) || self.owner.as_ref() == Some(name) {
                return Err(format!("`{name}` is a field that the server sets"));
            }
        }
        Ok(())
    }

    /// Tells whether a field is sensitive, or lies within one that is.
    pub(crate) fn is_sensitive(&self, field: &Field) -> bool {
        field.names().next().is_some_and(|name| self.sensitive.iter().any(|own| own == name))
    }
}

/// Refuses names that the database refuses, and those in which lower and upper case could be confused.
pub(super) fn check_name(key: &str, name: &str) -> Result<(), ConfigError> {
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
