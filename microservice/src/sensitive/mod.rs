//! Sensitive fields: sealed before a record leaves for the database, and opened only for whom a rule names.
//!
//! Below the service nothing else is ever seen of them: not in the database, its change log, its backups and its kept
//! answers, and the cache has records without them. A sealed value stands in its field as `{"$sealed": "…"}`, bound to
//! namespace, collection, record and field.

mod keys;

use std::sync::Arc;

use aws_lc_rs::error::Unspecified;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use database::find::Field;
use serde_json::{Map, Value, json};

pub(crate) use self::keys::Keys;
use self::keys::Unreadable;

/// The member that holds a sealed value.
const SEALED: &str = "$sealed";

/// Values are filled up to a multiple of this before they are sealed, so that lengths tell little: which of a few
/// words it is, or true from false.
const BLOCK: usize = 32;

/// The sensitive fields of one collection, with the keys they are sealed with.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sensitive {
    namespace: String,
    collection: String,
    fields: Vec<String>,
    /// None where there are no fields.
    keys: Option<Arc<Keys>>,
}

impl Sensitive {
    /// Takes what a collection declares; `keys` are needed where it declares any.
    pub(crate) fn new(namespace: &str, collection: &str, fields: &[String], keys: Option<Arc<Keys>>) -> Self {
        let (namespace, collection) = (namespace.to_owned(), collection.to_owned());
        Self { namespace, collection, fields: fields.to_vec(), keys }
    }

    /// Tells whether the collection has none.
    pub(crate) fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// Names the collection.
    pub(crate) fn collection(&self) -> &str {
        &self.collection
    }

    /// Tells whether there are keys beside the present one.
    pub(crate) fn has_previous_keys(&self) -> bool {
        self.keys().is_some_and(Keys::has_previous)
    }

    /// Names the present key and the fields, for a note of what was sealed with it: of all versions, deleted ones too, which
    /// the notes of earlier releases were not about.
    pub(crate) fn state(&self) -> String {
        let key = self.keys().map(Keys::present_id).unwrap_or_default();
        format!("all {key} {}", self.fields.join(","))
    }

    /// Names them.
    pub(crate) fn names(&self) -> &[String] {
        &self.fields
    }

    /// Tells whether a field is one of them, or lies within one.
    pub(crate) fn holds(&self, field: &Field) -> bool {
        field.names().next().is_some_and(|name| self.fields.iter().any(|own| own == name))
    }

    /// Gives the keys, where there are fields.
    pub(crate) fn keys(&self) -> Option<&Keys> {
        self.keys.as_deref().filter(|_| !self.is_empty())
    }

    /// Leaves all of them out.
    pub(crate) fn strip(&self, data: &mut Map<String, Value>) {
        if !self.is_empty() {
            data.retain(|name, _| !self.fields.contains(name));
        }
    }

    /// Seals all of them in a record's data.
    pub(crate) fn seal(&self, id: &str, data: &mut Map<String, Value>) -> Result<(), Unspecified> {
        let Some(keys) = self.keys() else { return Ok(()) };
        for name in &self.fields {
            if let Some(value) = data.get_mut(name) {
                let mut text = value.to_string().into_bytes();
                // White space after a document changes nothing of it.
                text.resize(text.len().next_multiple_of(BLOCK), b' ');
                let sealed = keys.seal(&self.place(id, name), &text)?;
                *value = json!({ SEALED: BASE64_URL_SAFE_NO_PAD.encode(sealed) });
            }
        }
        Ok(())
    }

    /// Opens those of them that are named in a record's data. One that cannot be opened stays as it is, is logged, and
    /// is named in what is given back.
    pub(crate) fn open(&self, id: &str, data: &mut Map<String, Value>, names: &[String]) -> Vec<String> {
        let mut unopened = Vec::new();
        let Some(keys) = self.keys() else { return unopened };
        for name in names {
            if let Some(value) = data.get_mut(name)
                && let Some(sealed) = sealed_within(value)
            {
                match self.open_one(keys, id, name, sealed) {
                    Ok(opened) => *value = opened,
                    Err(error) => {
                        let (namespace, collection) = (&self.namespace, &self.collection);
                        tracing::error!(namespace, collection, id, field = name, %error, "a sensitive field is not readable");
                        unopened.push(name.clone());
                    }
                }
            }
        }
        unopened
    }

    /// Tells whether all of them are sealed with the present key.
    pub(crate) fn is_fresh(&self, data: &Map<String, Value>) -> bool {
        let Some(keys) = self.keys() else { return true };
        let is_fresh = |value: &Value| {
            let sealed = sealed_within(value).and_then(|sealed| BASE64_URL_SAFE_NO_PAD.decode(sealed).ok());
            sealed.is_some_and(|sealed| keys.is_present(&sealed))
        };
        self.fields.iter().filter_map(|name| data.get(name)).all(is_fresh)
    }

    fn open_one(&self, keys: &Keys, id: &str, name: &str, sealed: &str) -> Result<Value, Unreadable> {
        let sealed = BASE64_URL_SAFE_NO_PAD.decode(sealed).map_err(|_| Unreadable::Form)?;
        let text = keys.open(&self.place(id, name), &sealed)?;
        serde_json::from_slice(&text).map_err(|_| Unreadable::Form)
    }

    /// Names the place of a field: each part preceded by its length, so that no two places are alike.
    fn place(&self, id: &str, name: &str) -> Vec<u8> {
        let mut place = Vec::new();
        for part in [&self.namespace, &self.collection, id, name] {
            place.extend_from_slice(&(part.len() as u64).to_be_bytes());
            place.extend_from_slice(part.as_bytes());
        }
        place
    }
}

/// Finds what is sealed in a value; one from before its field was declared sensitive is as it was written.
fn sealed_within(value: &Value) -> Option<&str> {
    value.as_object().filter(|members| members.len() == 1)?.get(SEALED)?.as_str()
}
