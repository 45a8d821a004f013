//! A document as PostgreSQL keeps it: as jsonb, and once more as text where jsonb would change it.
//!
//! jsonb has no U+0000, and writes numbers out as decimals: `1e16` would come back as an integer.

use serde_json::{Map, Value};

use crate::Error;

/// From here on a number with a fraction or an exponent is kept as it was written; below, the decimal that
/// jsonb gives back is read as the same number.
const PLAIN_BELOW: f64 = 1e15;

/// One document in its two columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Document {
    /// What the server searches in.
    pub(super) data: String,
    /// What is read back, where that is something else.
    pub(super) exact: Option<String>,
}

impl Document {
    /// Makes the columns of a document.
    pub(super) fn of(data: &Map<String, Value>) -> Result<Self, Error> {
        let text = write(data)?;
        let fits = data.iter().all(|(name, value)| fits_text(name) && fits(value));
        match fits {
            true => Ok(Self { data: text, exact: None }),
            false => Ok(Self { data: write(&without_nul(data))?, exact: Some(text) }),
        }
    }

    /// Takes a document as it was read.
    pub(super) fn read(text: String) -> Self {
        Self { data: text, exact: None }
    }

    /// Reads the document itself.
    pub(super) fn parse(&self) -> Result<Map<String, Value>, Error> {
        parse(self.exact.as_deref().unwrap_or(&self.data))
    }
}

/// Reads a stored document.
pub(super) fn parse(text: &str) -> Result<Map<String, Value>, Error> {
    serde_json::from_str(text).map_err(|error| Error::Storage { reason: format!("a stored record: {error}") })
}

fn write(data: &Map<String, Value>) -> Result<String, Error> {
    serde_json::to_string(data).map_err(|error| Error::Invalid { reason: error.to_string() })
}

fn fits(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(_) => true,
        Value::Number(number) => {
            !number.is_f64() || number.as_f64().is_some_and(|number| number.abs() < PLAIN_BELOW)
        }
        Value::String(text) => fits_text(text),
        Value::Array(values) => values.iter().all(fits),
        Value::Object(members) => members.iter().all(|(name, value)| fits_text(name) && fits(value)),
    }
}

fn fits_text(text: &str) -> bool {
    !text.contains('\0')
}

fn without_nul(data: &Map<String, Value>) -> Map<String, Value> {
    data.iter().map(|(name, value)| (replaced(name), value_without_nul(value))).collect()
}

fn value_without_nul(value: &Value) -> Value {
    match value {
        Value::String(text) => Value::String(replaced(text)),
        Value::Array(values) => values.iter().map(value_without_nul).collect(),
        Value::Object(members) => Value::Object(without_nul(members)),
        other => other.clone(),
    }
}

fn replaced(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn document(value: Value) -> Document {
        let Value::Object(data) = value else { panic!("an object") };
        let document = Document::of(&data).unwrap();
        assert_eq!(document.parse().unwrap(), data, "it is read as it was written");
        document
    }

    #[test]
    fn what_jsonb_keeps_is_stored_once() {
        let plain = json!({"a": [1, -2.5, 1e-300, u64::MAX, "é", null], "b": {"c": true}, "d": 999_999_999_999_999.0});
        assert_eq!(document(plain).exact, None);
    }

    #[test]
    fn what_jsonb_would_change_is_stored_as_text_too() {
        for value in
            [json!({"a": 1e16}), json!({"a": [{"b": -1e300}]}), json!({"a": "x\0"}), json!({"\0": 1})]
        {
            let document = document(value.clone());
            assert!(document.exact.is_some(), "{value}");
            assert!(!document.data.contains("\\u0000"), "{}", document.data);
        }
    }
}
