//! A document as PostgreSQL keeps it: as jsonb, and once more as text where jsonb would change it.
//!
//! jsonb has no U+0000, and writes numbers out as decimals: `1e16` would come back as an integer, `-0.0` without its sign. What is
//! searched in stands for what was written in the same order: characters below U+0002 are escaped so that texts
//! compare as before, and large fractions are written out as the whole numbers they are.

use serde_json::{Map, Number, Value};

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
            false => Ok(Self { data: write(&searched_object(data))?, exact: Some(text) }),
        }
    }

    /// Takes a document as it was read.
    pub(super) fn read(text: String) -> Self {
        Self { data: text, exact: None }
    }

    /// Gives the document itself.
    pub(super) fn text(&self) -> &str {
        self.exact.as_deref().unwrap_or(&self.data)
    }

    /// Reads the document itself.
    pub(super) fn parse(&self) -> serde_json::Result<Map<String, Value>> {
        serde_json::from_str(self.text())
    }
}

fn write(data: &Map<String, Value>) -> Result<String, Error> {
    serde_json::to_string(data).map_err(|error| Error::Invalid { reason: error.to_string() })
}

fn fits(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(_) => true,
        Value::Number(number) => {
            !number.is_f64()
                || number.as_f64().is_some_and(|number| number.abs() < PLAIN_BELOW && !is_minus_zero(number))
        }
        Value::String(text) => fits_text(text),
        Value::Array(values) => values.iter().all(fits),
        Value::Object(members) => members.iter().all(|(name, value)| fits_text(name) && fits(value)),
    }
}

/// Tells a zero with a sign, which decimals do not have.
fn is_minus_zero(number: f64) -> bool {
    number == 0.0 && number.is_sign_negative()
}

fn fits_text(text: &str) -> bool {
    !text.contains(['\0', '\u{1}'])
}

fn searched_object(data: &Map<String, Value>) -> Map<String, Value> {
    data.iter().map(|(name, value)| (searched_text(name), searched(value))).collect()
}

fn searched(value: &Value) -> Value {
    match value {
        Value::String(text) => Value::String(searched_text(text)),
        Value::Number(number) => searched_number(number).map_or_else(|| value.clone(), Value::Number),
        Value::Array(values) => values.iter().map(searched).collect(),
        Value::Object(members) => Value::Object(searched_object(members)),
        other => other.clone(),
    }
}

/// Gives what a text is searched by.
pub(super) fn searched_text(text: &str) -> String {
    text.replace('\u{1}', "\u{1}\u{2}").replace('\0', "\u{1}\u{1}")
}

/// Gives the whole number that a large fraction is, where there is one of JSON's.
fn searched_number(number: &Number) -> Option<Number> {
    let fraction = number.as_f64().filter(|fraction| number.is_f64() && fraction.abs() >= PLAIN_BELOW)?;
    // The casts are exact: beyond 2^53 every fraction is whole, and the bounds are those of the types.
    match fraction {
        _ if (0.0..18_446_744_073_709_551_616.0).contains(&fraction) && fraction.fract() == 0.0 => {
            Some(Number::from(fraction as u64))
        }
        _ if (-9_223_372_036_854_775_808.0..0.0).contains(&fraction) && fraction.fract() == 0.0 => {
            Some(Number::from(fraction as i64))
        }
        _ => None,
    }
}

/// Gives what a number is searched by, as a decimal.
pub(super) fn searched_decimal(number: &Number) -> String {
    searched_number(number).as_ref().unwrap_or(number).to_string()
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
        for value in [
            json!({"a": 1e16}),
            json!({"a": [{"b": -1e300}]}),
            json!({"a": [-0.0]}),
            json!({"a": "x\0"}),
            json!({"\0": 1}),
        ] {
            let document = document(value.clone());
            assert!(document.exact.is_some(), "{value}");
            assert!(!document.data.contains("\\u0000"), "{}", document.data);
        }
    }

    #[test]
    fn texts_are_searched_in_the_order_they_have() {
        let mut texts = ["", "a", "a\0", "a\0\0", "a\0\u{1}", "a\u{1}", "a\u{1}\0", "a\u{2}", "aa", "b"];
        texts.sort();
        assert!(texts.map(searched_text).is_sorted_by(|one, next| one < next));
    }

    #[test]
    fn a_large_fraction_is_searched_as_the_whole_number_it_is() {
        let decimal = |value: Value| value.as_number().map(searched_decimal).unwrap();
        assert_eq!(decimal(json!(1e16)), "10000000000000000");
        assert_eq!(decimal(json!(-1.2345678901234568e18)), "-1234567890123456768");
        assert_eq!(decimal(json!(1.2345678901234567e19)), "12345678901234567168");
        assert_eq!(decimal(json!(2.5)), "2.5");
        assert_eq!(decimal(json!(u64::MAX)), "18446744073709551615");
    }
}
