//! JSON Patch: RFC 6902, applied whole or not at all, and bounded.
//!
//! Own code, because the crates there are let a patch of a few lines grow without end: each `copy` of the
//! whole into a member doubles it. Here what a patch adds is counted, and one that adds more than a record may
//! hold, or puts it deeper than a record may be nested, is refused as it goes. Numbers are compared by value (§4.6), `1` as `1.0`.

use std::collections::BTreeSet;
use std::fmt::Formatter;

use database::find::field::is_same_number;
use database::limits::{NESTING_LIMIT, is_within};
use process::problem::Fault;
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// The most operations of one patch.
const OPERATION_LIMIT: usize = 1000;

/// One operation; members that it does not define are passed over (§4).
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
enum Operation {
    Add { path: String, value: Value },
    Remove { path: String },
    Replace { path: String, value: Value },
    Move { from: String, path: String },
    Copy { from: String, path: String },
    Test { path: String, value: Value },
}

/// A patch that was read.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct JsonPatch(Vec<Operation>);

/// Why a patch does not apply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Unfit {
    /// A `test` does not hold: the record is not as the client thought.
    TestFailed(Fault),
    /// An operation is about something that is not there.
    Misplaced(Fault),
    /// What it adds is more than a record may hold.
    TooLarge,
    /// An operation puts something deeper than a record may be nested.
    TooDeep(Fault),
}

/// Finds the first operation of a patch, as it was sent, with a member twice; each has exactly one `op` (§4). What is no
/// list of objects is for [`JsonPatch::read`] to say.
pub(crate) fn find_repeated(bytes: &[u8]) -> Option<Fault> {
    let operations: Vec<Repeats> = serde_json::from_slice(bytes).ok()?;
    let place = operations.iter().position(|Repeats(repeats)| *repeats)?;
    let detail = "a member stands here more than once".to_owned();
    Some(Fault { pointer: format!("/{place}"), detail })
}

impl JsonPatch {
    /// Reads a patch; a fault points into it.
    pub(crate) fn read(document: &Value) -> Result<Self, Fault> {
        let fault = |pointer: String, detail: &str| Fault { pointer, detail: detail.to_owned() };
        let operations = document.as_array().ok_or_else(|| fault(String::new(), "a list is expected"))?;
        if operations.len() > OPERATION_LIMIT {
            return Err(fault(String::new(), "there are more than 1000 operations"));
        }
        let read = |(place, document): (usize, &Value)| {
            let operation = Operation::deserialize(document)
                .map_err(|error| Fault { pointer: format!("/{place}"), detail: error.to_string() })?;
            match operation.pointers().iter().all(|pointer| is_pointer(pointer)) {
                true => Ok(operation),
                false => {
                    Err(fault(format!("/{place}"), "a path is a JSON Pointer: empty, or it begins with `/`"))
                }
            }
        };
        operations.iter().enumerate().map(read).collect::<Result<_, _>>().map(Self)
    }

    /// Applies it to a document; `limit` bounds in bytes of JSON what it may add.
    pub(crate) fn apply(&self, document: &Value, limit: u64) -> Result<Value, Unfit> {
        let mut changed = document.clone();
        let mut added = 0;
        for (place, operation) in self.0.iter().enumerate() {
            let fault = |detail: &str| Fault { pointer: format!("/{place}"), detail: detail.to_owned() };
            let misplaced = |detail: &str| Unfit::Misplaced(fault(detail));
            let nothing = || misplaced("there is nothing at this path");
            let check_depth = |path: &str, value: &Value| match fits_at(path, value) {
                true => Ok(()),
                false => Err(Unfit::TooDeep(fault(&format!("puts it deeper than {NESTING_LIMIT} levels")))),
            };
            match operation {
                Operation::Add { path, value } => {
                    check_depth(path, value)?;
                    added += size_of(value);
                    add(&mut changed, path, value.clone()).map_err(misplaced)?;
                }
                Operation::Remove { path } => {
                    remove(&mut changed, path).ok_or_else(nothing)?;
                }
                Operation::Replace { path, value } => {
                    check_depth(path, value)?;
                    added += size_of(value);
                    *changed.pointer_mut(path).ok_or_else(nothing)? = value.clone();
                }
                Operation::Move { from, path } => {
                    if path.strip_prefix(from.as_str()).is_some_and(|rest| rest.starts_with('/')) {
                        return Err(misplaced("nothing can be moved into itself"));
                    }
                    let value = changed.pointer(from);
                    let value = value.ok_or_else(|| misplaced("there is nothing at `from`"))?;
                    if from != path {
                        check_depth(path, value)?;
                        let value = remove(&mut changed, from);
                        let value = value.ok_or_else(|| misplaced("the whole cannot be moved"))?;
                        add(&mut changed, path, value).map_err(misplaced)?;
                    }
                }
                Operation::Copy { from, path } => {
                    let value =
                        changed.pointer(from).ok_or_else(|| misplaced("there is nothing at `from`"))?;
                    check_depth(path, value)?;
                    added += size_of(value);
                    if added > limit {
                        return Err(Unfit::TooLarge);
                    }
                    let value = value.clone();
                    add(&mut changed, path, value).map_err(misplaced)?;
                }
                Operation::Test { path, value } => {
                    let found = changed.pointer(path).ok_or_else(nothing)?;
                    if !equals(found, value) {
                        return Err(Unfit::TestFailed(fault("the value is another")));
                    }
                }
            }
            if added > limit {
                return Err(Unfit::TooLarge);
            }
        }
        Ok(changed)
    }
}

impl Operation {
    fn pointers(&self) -> Vec<&str> {
        match self {
            Self::Add { path, .. }
            | Self::Remove { path }
            | Self::Replace { path, .. }
            | Self::Test { path, .. } => {
                vec![path]
            }
            Self::Move { from, path } | Self::Copy { from, path } => vec![from, path],
        }
    }
}

/// Tells whether a text is a JSON Pointer (RFC 6901 §3).
fn is_pointer(text: &str) -> bool {
    let escapes = text.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
    (text.is_empty() || text.starts_with('/')) && escapes
}

/// Tells whether a value at a path is within the levels of a record: each step of the path is one.
fn fits_at(path: &str, value: &Value) -> bool {
    let steps = path.matches('/').count();
    NESTING_LIMIT.checked_sub(steps).is_some_and(|left| is_within(value, left))
}

/// Adds a value at a path (§4.1).
fn add(document: &mut Value, path: &str, value: Value) -> Result<(), &'static str> {
    let Some((parent, last)) = path.rsplit_once('/') else {
        *document = value;
        return Ok(());
    };
    match document.pointer_mut(parent).ok_or("what it is to be added to is not there")? {
        Value::Object(members) => {
            members.insert(unescape(last), value);
            Ok(())
        }
        Value::Array(items) if last == "-" => {
            items.push(value);
            Ok(())
        }
        Value::Array(items) => {
            let place = index(last).filter(|place| *place <= items.len());
            items.insert(place.ok_or("the list has no such place")?, value);
            Ok(())
        }
        _ => Err("nothing can be added to a value that is no object and no list"),
    }
}

/// Removes what is at a path (§4.2); the whole stays.
fn remove(document: &mut Value, path: &str) -> Option<Value> {
    let (parent, last) = path.rsplit_once('/')?;
    match document.pointer_mut(parent)? {
        Value::Object(members) => members.remove(&unescape(last)),
        Value::Array(items) => {
            let place = index(last).filter(|place| *place < items.len())?;
            Some(items.remove(place))
        }
        _ => None,
    }
}

/// Reads the place in a list: digits without a leading zero (RFC 6901 §4).
fn index(token: &str) -> Option<usize> {
    let is_canonical = token == "0" || !token.starts_with('0');
    let is_number = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_digit());
    (is_canonical && is_number).then(|| token.parse().ok())?
}

fn unescape(token: &str) -> String {
    token.replace("~1", "/").replace("~0", "~")
}

/// Tells whether an operation, as it was sent, has a member more than once.
struct Repeats(bool);

impl<'de> Deserialize<'de> for Repeats {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Members)
    }
}

/// Reads the names of an operation's members.
struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Repeats;

    fn expecting(&self, formatter: &mut Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("an operation")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Repeats, A::Error> {
        let (mut names, mut repeats) = (BTreeSet::new(), false);
        while let Some((name, IgnoredAny)) = members.next_entry::<String, IgnoredAny>()? {
            repeats |= !names.insert(name);
        }
        Ok(Repeats(repeats))
    }
}

/// Compares as §4.6 says: numbers by value.
pub(crate) fn equals(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => is_same_number(one, other),
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| equals(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            let same = |(name, value)| other.get(name).is_some_and(|other| equals(value, other));
            one.len() == other.len() && one.iter().all(same)
        }
        _ => one == other,
    }
}

fn size_of(value: &Value) -> u64 {
    serde_json::to_vec(value).map_or(u64::MAX, |text| text.len() as u64)
}

#[cfg(test)]
#[path = "json_patch_tests.rs"]
mod tests;
