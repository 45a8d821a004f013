//! What a record can be asked about: its name, its times, and the members of its data.

use std::cmp::Ordering;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Error, Record, time};

/// The longest spelling of a field, in bytes.
const LENGTH_LIMIT: usize = 255;

/// The most names on the way to a member.
const DEPTH_LIMIT: usize = 8;

/// A record's name, as a field.
pub const ID: &str = "id";

/// When a record was first written, as a field.
pub const CREATED_AT: &str = "created_at";

/// When a record was last written, as a field.
pub const UPDATED_AT: &str = "updated_at";

/// `id`, `created_at`, `updated_at`, or the names on the way to a member of the data, joined with `.`.
///
/// A name has letters, digits, `_` and `-`, so that no engine needs to escape one. What lies within an
/// array has no field.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Field(String);

impl Field {
    /// Takes a spelling; `None` when it is not one of a field.
    pub fn new(spelling: impl Into<String>) -> Option<Self> {
        let spelling = spelling.into();
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        let is_name = |name: &str| !name.is_empty() && name.bytes().all(is_plain);
        let fits = spelling.len() <= LENGTH_LIMIT && spelling.split('.').count() <= DEPTH_LIMIT;
        (fits && spelling.split('.').all(is_name)).then_some(Self(spelling))
    }

    /// Gives the spelling.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Gives the names on the way.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.split('.')
    }

    /// Tells whether it is no member of the data.
    pub fn is_of_record(&self) -> bool {
        matches!(self.0.as_str(), ID | CREATED_AT | UPDATED_AT)
    }

    /// Reads it from a record.
    pub(crate) fn read<'a>(&self, record: &'a Record) -> Scalar<'a> {
        match self.0.as_str() {
            ID => return Scalar::Text(&record.id),
            CREATED_AT => return Scalar::Number(Number::Whole(time::to_stored(record.created_at).into())),
            UPDATED_AT => return Scalar::Number(Number::Whole(time::to_stored(record.updated_at).into())),
            _ => {}
        }
        let mut names = self.names();
        let mut found = names.next().and_then(|name| record.data.get(name));
        for name in names {
            found = found.and_then(Value::as_object).and_then(|members| members.get(name));
        }
        found.map_or(Scalar::Null, Scalar::of)
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Field {
    type Error = Error;

    fn try_from(spelling: String) -> Result<Self, Error> {
        let reason = "a field is 1 to 8 names of letters, digits, `_` and `-`, joined with `.`";
        Self::new(spelling).ok_or_else(|| Error::Invalid { reason: reason.to_owned() })
    }
}

impl From<Field> for String {
    fn from(field: Field) -> Self {
        field.0
    }
}

/// What a field of a record holds, as far as it can be compared.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Scalar<'a> {
    /// Nothing: the member is missing, or null, or lies beneath something that is no object.
    Null,
    Boolean(bool),
    Number(Number),
    Text(&'a str),
    /// An array or an object: it is there, and equals nothing.
    Whole,
}

impl<'a> Scalar<'a> {
    /// Reads a JSON value.
    pub(crate) fn of(value: &'a Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(value) => Self::Boolean(*value),
            Value::Number(number) => Self::Number(Number::of(number)),
            Value::String(text) => Self::Text(text),
            Value::Array(_) | Value::Object(_) => Self::Whole,
        }
    }

    /// Compares two of one type; `None` for two of different types, and where one is null or no scalar.
    pub(crate) fn compare(self, other: Scalar<'_>) -> Option<Ordering> {
        match (self, other) {
            (Self::Boolean(one), Scalar::Boolean(other)) => Some(one.cmp(&other)),
            (Self::Number(one), Scalar::Number(other)) => Some(one.compare(other)),
            (Self::Text(one), Scalar::Text(other)) => Some(one.as_bytes().cmp(other.as_bytes())),
            _ => None,
        }
    }
}

/// A JSON number, compared by its value whatever it is written like.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Number {
    Whole(i128),
    Fraction(f64),
}

impl Number {
    fn of(number: &serde_json::Number) -> Self {
        match number.as_i128() {
            Some(whole) => Self::Whole(whole),
            None => Self::Fraction(number.as_f64().unwrap_or(0.0)),
        }
    }

    fn compare(self, other: Self) -> Ordering {
        match (self, other) {
            (Self::Whole(one), Self::Whole(other)) => one.cmp(&other),
            (Self::Fraction(one), Self::Fraction(other)) => {
                one.partial_cmp(&other).unwrap_or(Ordering::Equal)
            }
            (Self::Whole(one), Self::Fraction(other)) => compare_whole(one, other),
            (Self::Fraction(one), Self::Whole(other)) => compare_whole(other, one).reverse(),
        }
    }
}

/// Tells whether two JSON numbers have one value, whatever they are written like.
pub fn is_same_number(one: &serde_json::Number, other: &serde_json::Number) -> bool {
    Number::of(one).compare(Number::of(other)).is_eq()
}

/// Compares without rounding the whole number to a fraction.
fn compare_whole(whole: i128, fraction: f64) -> Ordering {
    // A cast saturates, and no whole number of JSON comes near the ends.
    let floor = fraction.floor();
    let beyond = if fraction > floor { Ordering::Less } else { Ordering::Equal };
    whole.cmp(&(floor as i128)).then(beyond)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_field_is_names_that_no_engine_needs_to_escape() {
        for spelling in ["price", "a.b", "a-b_9", "created_at", "a.b.c.d.e.f.g.h"] {
            assert!(Field::new(spelling).is_some(), "{spelling}");
        }
        for spelling in ["", ".", "a.", ".a", "a b", "a'b", "a\"", "a[0]", "$", "ä", "a.b.c.d.e.f.g.h.i"] {
            assert!(Field::new(spelling).is_none(), "{spelling}");
        }
        assert!(Field::new("x".repeat(LENGTH_LIMIT + 1)).is_none());
    }

    #[test]
    fn numbers_are_compared_by_value_and_without_rounding() {
        let cases = [
            (json!(1), json!(1.0), Some(Ordering::Equal)),
            (json!(-1), json!(-1.5), Some(Ordering::Greater)),
            (json!(9_007_199_254_740_993_u64), json!(9_007_199_254_740_992.0), Some(Ordering::Greater)),
            (json!(u64::MAX), json!(18_446_744_073_709_551_616.0), Some(Ordering::Less)),
            (json!(1e300), json!(u64::MAX), Some(Ordering::Greater)),
            (json!("10"), json!(10), None),
            (json!("b"), json!("ä"), Some(Ordering::Less)),
            (json!(true), json!(1), None),
            (json!(null), json!(null), None),
            (json!([1]), json!([1]), None),
        ];
        for (one, other, expected) in cases {
            assert_eq!(Scalar::of(&one).compare(Scalar::of(&other)), expected, "{one} {other}");
            let reversed = Scalar::of(&other).compare(Scalar::of(&one));
            assert_eq!(reversed, expected.map(Ordering::reverse), "{other} {one}");
        }
    }
}
