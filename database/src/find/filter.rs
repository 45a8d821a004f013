//! What records must be like to be found: one rule for every engine.
//!
//! An engine narrows down by an index what it looks at, and [`Filter::matches`] decides about each record. So
//! two engines cannot disagree about what a filter means:
//!
//! - A field is *null* when its member is missing, is `null`, or lies beneath something that is no object.
//! - Values are compared within their JSON type only. A number never equals, precedes or follows a string;
//!   `eq` and the other comparisons are then false and `neq` is true.
//! - Numbers are compared by value: `1` equals `1.0`. Strings are compared by the bytes of their UTF-8.
//!   `false` comes before `true`.
//! - On a null field every comparison is false, `neq` too. An array or an object is not null and equals nothing.
//! - `not` is plain negation: `not(a.eq.1)` holds where `a` is null, `a.neq.1` does not.
//! - `created_at` and `updated_at` are numbers: whole microseconds since 1970, UTC.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::field::{Field, Scalar};
use crate::{Error, Record};

/// How deep `and`, `or` and `not` may lie within each other.
pub const DEPTH_LIMIT: usize = 8;

/// The most conditions of one filter, and the most values of one `in`.
pub const CONDITION_LIMIT: usize = 64;

/// The longest text a filter compares with, in bytes.
pub const TEXT_LIMIT: usize = 1024;

/// The most `*` of a pattern.
pub const STAR_LIMIT: usize = 16;

/// What a record must be like.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Filter {
    /// All of these hold; true when there are none.
    And(Vec<Filter>),
    /// One of these holds; false when there are none.
    Or(Vec<Filter>),
    /// This does not hold.
    Not(Box<Filter>),
    /// The field compares so with a boolean, number or string.
    Compare {
        /// The field.
        field: Field,
        /// How.
        comparison: Comparison,
        /// With what.
        value: Value,
    },
    /// The field equals one of these.
    In {
        /// The field.
        field: Field,
        /// Booleans, numbers or strings.
        values: Vec<Value>,
    },
    /// The field is a string of this form, in which `*` stands for any characters or none.
    Like {
        /// The field.
        field: Field,
        /// The form.
        pattern: String,
    },
    /// The field is in this state.
    Is {
        /// The field.
        field: Field,
        /// The state.
        state: State,
    },
}

/// How two values compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Comparison {
    /// Equal.
    Eq,
    /// There, and not equal.
    Neq,
    /// Greater.
    Gt,
    /// Greater or equal.
    Gte,
    /// Less.
    Lt,
    /// Less or equal.
    Lte,
}

/// What a field can be without comparing it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Missing or null.
    Null,
    /// There.
    NotNull,
    /// `true`.
    True,
    /// `false`.
    False,
}

impl Filter {
    /// Tells whether a record is meant.
    pub fn matches(&self, record: &Record) -> bool {
        match self {
            Self::And(all) => all.iter().all(|filter| filter.matches(record)),
            Self::Or(any) => any.iter().any(|filter| filter.matches(record)),
            Self::Not(filter) => !filter.matches(record),
            Self::Compare { field, comparison, value } => compares(field.read(record), *comparison, value),
            Self::In { field, values } => {
                let found = field.read(record);
                values.iter().any(|value| compares(found, Comparison::Eq, value))
            }
            Self::Like { field, pattern } => match field.read(record) {
                Scalar::Text(text) => is_like(text, pattern),
                _ => false,
            },
            Self::Is { field, state } => {
                matches!(
                    (field.read(record), state),
                    (Scalar::Null, State::Null)
                        | (Scalar::Boolean(true), State::True)
                        | (Scalar::Boolean(false), State::False)
                ) || (*state == State::NotNull && !matches!(field.read(record), Scalar::Null))
            }
        }
    }

    /// Names every field it asks about.
    pub fn fields(&self) -> Vec<&Field> {
        match self {
            Self::And(parts) | Self::Or(parts) => parts.iter().flat_map(Self::fields).collect(),
            Self::Not(part) => part.fields(),
            Self::Compare { field, .. }
            | Self::In { field, .. }
            | Self::Like { field, .. }
            | Self::Is { field, .. } => vec![field],
        }
    }

    /// Checks that it is of a bounded size and compares with what can be compared.
    pub fn check(&self) -> Result<(), Error> {
        let mut conditions = 0;
        self.check_part(DEPTH_LIMIT, &mut conditions)
    }

    /// How many comparisons decide on one record.
    pub(super) fn comparisons(&self) -> u64 {
        match self {
            Self::And(parts) | Self::Or(parts) => parts.iter().map(Self::comparisons).sum(),
            Self::Not(part) => part.comparisons(),
            Self::In { values, .. } => values.len() as u64,
            Self::Like { pattern, .. } => pattern.matches('*').count() as u64 + 1,
            Self::Compare { .. } | Self::Is { .. } => 1,
        }
    }

    fn check_part(&self, depth: usize, conditions: &mut usize) -> Result<(), Error> {
        *conditions += 1;
        if *conditions > CONDITION_LIMIT {
            return invalid(format!("a filter has at most {CONDITION_LIMIT} conditions"));
        }
        match self {
            Self::And(parts) | Self::Or(parts) => {
                let Some(depth) = depth.checked_sub(1) else { return too_deep() };
                parts.iter().try_for_each(|part| part.check_part(depth, conditions))
            }
            Self::Not(part) => {
                let Some(depth) = depth.checked_sub(1) else { return too_deep() };
                part.check_part(depth, conditions)
            }
            Self::Compare { value, .. } => check_value(value),
            Self::In { values, .. } if values.len() > CONDITION_LIMIT => {
                invalid(format!("`in` takes at most {CONDITION_LIMIT} values"))
            }
            Self::In { values, .. } => values.iter().try_for_each(check_value),
            Self::Like { pattern, .. } => match pattern.matches('*').count() <= STAR_LIMIT {
                true => check_text(pattern),
                false => invalid(format!("a pattern has at most {STAR_LIMIT} `*`")),
            },
            Self::Is { .. } => Ok(()),
        }
    }
}

fn compares(found: Scalar<'_>, comparison: Comparison, value: &Value) -> bool {
    let ordering = found.compare(Scalar::of(value));
    match comparison {
        Comparison::Eq => ordering.is_some_and(|ordering| ordering.is_eq()),
        Comparison::Neq => !matches!(found, Scalar::Null) && ordering.is_none_or(|ordering| ordering.is_ne()),
        Comparison::Gt => ordering.is_some_and(|ordering| ordering.is_gt()),
        Comparison::Gte => ordering.is_some_and(|ordering| ordering.is_ge()),
        Comparison::Lt => ordering.is_some_and(|ordering| ordering.is_lt()),
        Comparison::Lte => ordering.is_some_and(|ordering| ordering.is_le()),
    }
}

/// Tells whether a text has a form: what stands between the `*` follows each other in it, at the ends the ends.
fn is_like(text: &str, pattern: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return text == pattern };
    let Some(mut text) = text.strip_prefix(first) else { return false };
    let (middle, last) = rest.rsplit_once('*').unwrap_or(("", rest));
    for part in middle.split('*') {
        match text.find(part) {
            Some(place) => text = &text[place + part.len()..],
            None => return false,
        }
    }
    text.ends_with(last)
}

fn check_value(value: &Value) -> Result<(), Error> {
    match value {
        Value::Bool(_) | Value::Number(_) => Ok(()),
        Value::String(text) => check_text(text),
        _ => invalid("a filter compares with booleans, numbers and strings"),
    }
}

fn check_text(text: &str) -> Result<(), Error> {
    match text.len() <= TEXT_LIMIT {
        true => Ok(()),
        false => invalid(format!("a filter compares with at most {TEXT_LIMIT} bytes")),
    }
}

fn too_deep<T>() -> Result<T, Error> {
    invalid(format!("a filter is at most {DEPTH_LIMIT} levels deep"))
}

fn invalid<T>(reason: impl Into<String>) -> Result<T, Error> {
    Err(Error::Invalid { reason: reason.into() })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_star_stands_for_any_characters_or_none() {
        let cases = [
            ("abc", "abc", true),
            ("abc", "ab", false),
            ("abc", "ab*", true),
            ("abc", "*bc", true),
            ("abc", "*", true),
            ("", "*", true),
            ("abc", "a*c", true),
            ("ac", "a*c", true),
            ("aba", "ab*ba", false),
            ("a%c", "a%*", true),
            ("xaybz", "*a*b*", true),
            ("xbyaz", "*a*b*", false),
            ("äöü", "ä**ü", true),
        ];
        for (text, pattern, expected) in cases {
            assert_eq!(is_like(text, pattern), expected, "{text} {pattern}");
        }
    }

    proptest! {
        #[test]
        fn a_form_holds_as_it_is_written_out_recursively(text in "[ab]{0,8}", pattern in "[ab*]{0,6}") {
            fn naive(text: &[u8], pattern: &[u8]) -> bool {
                match pattern.split_first() {
                    None => text.is_empty(),
                    Some((b'*', rest)) => (0..=text.len()).any(|skip| naive(&text[skip..], rest)),
                    Some((first, rest)) => text.first() == Some(first) && naive(&text[1..], rest),
                }
            }
            prop_assert_eq!(is_like(&text, &pattern), naive(text.as_bytes(), pattern.as_bytes()));
        }
    }

    #[test]
    fn what_would_cost_too_much_is_refused() {
        let is_null = Filter::Is { field: Field::new("a").unwrap(), state: State::Null };
        let nested = |depth| (0..depth).fold(is_null.clone(), |inner, _| Filter::Not(Box::new(inner)));
        nested(DEPTH_LIMIT).check().unwrap();
        assert!(nested(DEPTH_LIMIT + 1).check().is_err());
        assert!(Filter::And(vec![is_null.clone(); CONDITION_LIMIT]).check().is_err());
        let field = Field::new("a").unwrap();
        let long = Filter::Like { field: field.clone(), pattern: "x".repeat(TEXT_LIMIT + 1) };
        assert!(long.check().is_err());
        let of_stars = |stars| Filter::Like { field: field.clone(), pattern: "a*".repeat(stars) };
        of_stars(STAR_LIMIT).check().unwrap();
        assert!(of_stars(STAR_LIMIT + 1).check().is_err());
        assert!(Filter::In { field, values: vec![Value::Null] }.check().is_err());
    }
}
