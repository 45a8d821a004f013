//! Finding records by what they hold, in an order, page by page.
//!
//! A collection declares indexes ([`Declaration`]); a [`Find`] is answered by walking one of them
//! ([`plan`]). No other way is taken: a field that no index has is refused by name. An engine walks, and
//! [`Filter::matches`] decides; so a filter means the same everywhere, and what one answer costs is bounded
//! by [`EXAMINED_LIMIT`] records, however few of them match, and by fewer if the filter compares much (`effort`). A page
//! that reaches it ends early, with the place where the next one goes on.

pub mod declaration;
pub(crate) mod effort;
pub(crate) mod estimate;
pub mod field;
pub mod filter;
pub(crate) mod gather;
pub(crate) mod plan;
pub(crate) mod segment;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use declaration::{Column, Declaration, Index, Kind};
pub use field::Field;
pub use filter::{Comparison, Filter, State};

use crate::{Error, limits};

/// The most records that are looked at for one page; as of the limits below, fewer with a filter that compares much.
pub const EXAMINED_LIMIT: u64 = 10_000;

/// The most records that are looked at for `count=exact`; beyond it is an estimate.
pub const COUNTED_LIMIT: u64 = 100_000;

/// The most records that are looked at one by one for `count=estimated`; beyond it as many are sampled.
pub const ESTIMATED_LIMIT: u64 = 1_000;

/// The most fields of an order.
pub const ORDER_LIMIT: usize = 4;

/// The most fields an answer may be cut down to.
pub const FIELDS_LIMIT: usize = 64;

/// A question for records of one collection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Find {
    /// The collection.
    pub collection: String,
    /// What they must be like; all are found without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<Filter>,
    /// In what order they come. What it leaves open is decided by the index that is walked, at the end by the
    /// name, always in the same way; without an order that is all of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub order: Vec<Order>,
    /// Where the page starts; at the first record without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Position>,
    /// The most records of the page; at most [`crate::record::PAGE_LIMIT`].
    pub limit: u32,
    /// The fields of the data to answer with; all of it without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fields: Option<Vec<Field>>,
    /// Whether all that match are counted, whatever the page.
    #[serde(default)]
    pub count: Count,
    /// Whether a count that ends early is told as it is, as a lower bound, and nothing is estimated. An estimate is made from all
    /// records of the collection: its margin, and the steps it comes in, tell how many those are also to who may see few.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub lower_bound: bool,
}

/// One field of an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// The field.
    pub field: Field,
    /// Whether the greatest comes first. Null comes before everything, so last when descending.
    #[serde(default)]
    pub descending: bool,
}

/// A place in an order: right after a record that is or was there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Position {
    /// The index that was walked, so that no other is while there are new ones.
    pub index: String,
    /// What that record had in the index's columns, without those that the filter fixes, and its name.
    pub values: Vec<Value>,
}

/// Whether all that match are counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Count {
    /// No.
    #[default]
    None,
    /// As far as that is cheap: up to [`ESTIMATED_LIMIT`] records are looked at, and of more a sample; without one, as many as for a
    /// page.
    Estimated,
    /// Up to [`COUNTED_LIMIT`] records are looked at, and of more a sample. Without a filter the number is known.
    Exact,
}

/// How many records match.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Total {
    /// How many were counted, or are estimated.
    pub counted: u64,
    /// Whether they were counted.
    pub is_exact: bool,
    /// How far off an estimate is at most, in 19 cases of 20. None of a count: one that is not exact has ended early, and there are
    /// at least so many.
    #[serde(default)]
    pub margin: Option<u64>,
}

impl Total {
    /// Tells of a count.
    pub fn exactly(counted: u64) -> Self {
        Self { counted, is_exact: true, margin: None }
    }

    /// Tells of a count that ended early.
    pub fn at_least(counted: u64) -> Self {
        Self { counted, is_exact: false, margin: None }
    }

    /// Adds how many match elsewhere.
    pub fn add(&mut self, other: Self) {
        self.margin = match (self.is_exact, other.is_exact) {
            (true, _) => other.margin,
            (_, true) => self.margin,
            // Of two together that are not exact, one without a margin leaves none.
            (false, false) => self.margin.zip(other.margin).map(|(one, more)| one + more),
        };
        self.counted += other.counted;
        self.is_exact &= other.is_exact;
    }
}

impl Find {
    /// Asks for all records of a collection, from the first.
    pub fn all(collection: impl Into<String>, limit: u32) -> Self {
        Self {
            collection: collection.into(),
            filter: None,
            order: Vec::new(),
            after: None,
            limit,
            fields: None,
            count: Count::None,
            lower_bound: false,
        }
    }

    /// Checks that it is of a bounded size.
    pub(crate) fn check(&self) -> Result<(), Error> {
        limits::check_name("collection", &self.collection)?;
        limits::check_page(self.limit)?;
        self.filter.as_ref().map_or(Ok(()), Filter::check)?;
        if self.order.len() > ORDER_LIMIT {
            return Err(Error::Invalid { reason: format!("an order has at most {ORDER_LIMIT} fields") });
        }
        if self.fields.as_ref().is_some_and(|fields| fields.len() > FIELDS_LIMIT) {
            return Err(Error::Invalid { reason: format!("an answer names at most {FIELDS_LIMIT} fields") });
        }
        Ok(())
    }
}

/// Cuts data down to fields; what is not there is left out.
pub fn project(data: &Map<String, Value>, fields: &[Field]) -> Map<String, Value> {
    let mut kept = Map::new();
    for field in fields {
        let names: Vec<&str> = field.names().collect();
        keep(data, &mut kept, &names);
    }
    kept
}

fn keep(data: &Map<String, Value>, kept: &mut Map<String, Value>, names: &[&str]) {
    let Some((name, rest)) = names.split_first() else { return };
    match data.get(*name) {
        Some(value) if rest.is_empty() => {
            kept.insert((*name).to_owned(), value.clone());
        }
        Some(Value::Object(inner)) => {
            let place = kept.entry(*name).or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(place) = place {
                keep(inner, place, rest);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_answer_is_cut_down_to_the_fields_that_were_named() {
        let Value::Object(data) = json!({"a": {"b": 1, "c": 2}, "d": [3], "e": null}) else { panic!() };
        let fields = |names: &[&str]| names.iter().map(|name| Field::new(*name).unwrap()).collect::<Vec<_>>();
        let cut = |names: &[&str]| Value::Object(project(&data, &fields(names)));
        assert_eq!(cut(&["a.b", "d", "x", "d.y"]), json!({"a": {"b": 1}, "d": [3]}));
        assert_eq!(cut(&["a.b", "a"]), json!({"a": {"b": 1, "c": 2}}));
        assert_eq!(cut(&["a", "a.b"]), json!({"a": {"b": 1, "c": 2}}));
        assert_eq!(cut(&["e"]), json!({"e": null}));
        assert_eq!(cut(&[]), json!({}));
    }
}
