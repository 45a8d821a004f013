//! Choosing the index that is walked for a question: a pure function of the question and the indexes.
//!
//! An index fits when walking it gives the asked order. Of those that fit, the one on which the filter fixes
//! the most leading columns is taken, then one with a range on the next. What the index cannot narrow down is
//! left to [`super::Filter::matches`].

use std::cmp::Ordering;
use std::collections::HashMap;

use serde_json::Value;

use super::declaration::{Column, Index, Kind};
use super::field::{Field, ID, Scalar};
use super::filter::{Comparison, Filter, State};
use super::{Find, Order};
use crate::Error;

/// How one index is walked.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Walk {
    /// Which of the declared indexes; the names of the records without one.
    pub(crate) index: Option<usize>,
    /// What positions call the index.
    pub(crate) name: String,
    /// Whether no two records have the same in it: it then does not hold the name, and finds one record.
    pub(crate) is_unique: bool,
    /// Its columns, before the record's name.
    pub(crate) columns: Vec<Column>,
    /// What the filter fixes the first columns to.
    pub(crate) equals: Vec<Value>,
    /// Between what the filter wants the next column, or the name when there is none.
    pub(crate) range: Option<Range>,
    /// Whether it is walked from its end.
    pub(crate) backward: bool,
}

/// Bounds that what is not null must lie between; both belong to it.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Range {
    pub(crate) lower: Option<Value>,
    pub(crate) upper: Option<Value>,
}

/// What the conditions that must all hold say about one field.
#[derive(Debug, Clone, Default)]
struct Known {
    equal: Option<Value>,
    range: Option<Range>,
}

/// What positions call the index of the names.
const NAMES: &str = "id";

/// Chooses the walk for a question, or says which field no index has.
pub(crate) fn plan(find: &Find, indexes: &[Index], scan: bool) -> Result<Walk, Error> {
    let filter = find.filter.as_ref();
    if !scan {
        check_fields(filter, indexes)?;
    }
    let mut known = HashMap::new();
    if let Some(filter) = filter {
        learn(filter, &mut known);
    }
    // After the name nothing is left to decide.
    let end = find.order.iter().position(|order| order.field.as_str() == ID);
    let order = &find.order[..end.map_or(find.order.len(), |end| end + 1)];
    let order: Vec<&Order> = order
        .iter()
        .filter(|order| known.get(&order.field).is_none_or(|known| known.equal.is_none()))
        .collect();
    let names = std::iter::once((None, &[][..]));
    let declared = indexes.iter().enumerate().map(|(place, index)| (Some(place), &index.columns[..]));
    let mut walks: Vec<Walk> = Vec::new();
    for (place, columns) in names.chain(declared) {
        let index = place.map(|place| &indexes[place]);
        if let Some(walk) = walk(place, index, columns, &order, &known) {
            walks.push(walk);
        }
    }
    if let Some(after) = &find.after {
        walks.retain(|walk| walk.name == after.index);
        let gone = "the position is of another question, or its index is gone: start again";
        return walks.pop().ok_or_else(|| Error::Invalid { reason: gone.to_owned() });
    }
    // Of equals the first: the names, then the oldest index.
    let best = walks.into_iter().rev().max_by_key(score);
    best.ok_or_else(|| no_order(&find.order, indexes))
}

/// Fits an index to a question.
fn walk(
    place: Option<usize>,
    index: Option<&Index>,
    columns: &[Column],
    order: &[&Order],
    known: &HashMap<&Field, Known>,
) -> Option<Walk> {
    let equals: Vec<Value> = columns.iter().map_while(|column| fixed(column, known)).collect();
    // A unique index does not end with the name, so it gives an order only where it finds one record at most.
    let is_single = equals.len() == columns.len() && equals.iter().all(|value| !value.is_null());
    let is_unique = index.is_some_and(|index| index.unique);
    if is_unique && !is_single {
        return None;
    }
    let backward = match is_unique {
        true => false,
        false => direction(&columns[equals.len()..], order, known)?,
    };
    let range = match columns.get(equals.len()) {
        Some(column) => range(&column.field, column.kind, known),
        None => match fixed_name(known) {
            Some(name) => Some(Range { lower: Some(name.clone()), upper: Some(name) }),
            None => Field::new(ID).and_then(|id| range(&id, Kind::Text, known)),
        },
    };
    let name = index.map_or_else(|| NAMES.to_owned(), Index::name);
    Some(Walk { index: place, name, is_unique, columns: columns.to_vec(), equals, range, backward })
}

/// Tells whether columns give an order when they are walked backward or forward; `None` for neither.
fn direction(columns: &[Column], order: &[&Order], known: &HashMap<&Field, Known>) -> Option<bool> {
    let is_fixed = |field: &Field| known.get(field).is_some_and(|known| known.equal.is_some());
    let mut columns = columns.iter();
    let mut backward = None;
    for wanted in order {
        let descending = loop {
            match columns.next() {
                Some(column) if column.field == wanted.field => break column.descending,
                Some(column) if is_fixed(&column.field) => {}
                None if wanted.field.as_str() == ID => break false,
                _ => return None,
            }
        };
        let flipped = wanted.descending != descending;
        if backward.is_some_and(|backward| backward != flipped) {
            return None;
        }
        backward = Some(flipped);
    }
    Some(backward.unwrap_or(false))
}

/// How much a walk narrows down.
fn score(walk: &Walk) -> i64 {
    let is_bounded = walk.range.as_ref().is_some_and(|range| range.lower.is_some() || range.upper.is_some());
    let is_point = walk.columns.len() == walk.equals.len()
        && walk.range.as_ref().is_some_and(|range| range.lower.is_some() && range.lower == range.upper);
    let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
    i64::from(is_point || walk.is_unique) * 1000 + count(walk.equals.len()) * 100 + i64::from(is_bounded) * 50
        - count(walk.columns.len())
}

fn fixed(column: &Column, known: &HashMap<&Field, Known>) -> Option<Value> {
    let value = known.get(&column.field)?.equal.as_ref()?;
    (value.is_null() || is_of(value, column.kind)).then(|| value.clone())
}

fn fixed_name(known: &HashMap<&Field, Known>) -> Option<Value> {
    let (_, known) = known.iter().find(|(field, _)| field.as_str() == ID)?;
    known.equal.clone().filter(Value::is_string)
}

fn range(field: &Field, kind: Kind, known: &HashMap<&Field, Known>) -> Option<Range> {
    let range = known.get(field)?.range.clone()?;
    let fits = |bound: &Option<Value>| bound.as_ref().is_none_or(|bound| is_of(bound, kind));
    (fits(&range.lower) && fits(&range.upper)).then_some(range)
}

/// Tells whether a value can stand in a column.
pub(crate) fn is_of(value: &Value, kind: Kind) -> bool {
    match kind {
        Kind::Text => value.is_string(),
        Kind::Number => value.is_number(),
        Kind::Boolean => value.is_boolean(),
    }
}

/// Gathers what must hold of each field.
fn learn<'a>(filter: &'a Filter, known: &mut HashMap<&'a Field, Known>) {
    match filter {
        Filter::And(parts) => parts.iter().for_each(|part| learn(part, known)),
        Filter::Or(parts) if parts.len() == 1 => learn(&parts[0], known),
        Filter::Compare { field, comparison, value } => {
            let known = known.entry(field).or_default();
            match comparison {
                Comparison::Eq => known.fix(value),
                // What is not null may be of another type than the index, and is null there.
                Comparison::Neq => {}
                Comparison::Gt | Comparison::Gte => known.bound(Some(value), None),
                Comparison::Lt | Comparison::Lte => known.bound(None, Some(value)),
            }
        }
        Filter::In { field, values } => {
            let least = values.iter().reduce(|one, other| pick(one, other, Ordering::Less));
            let greatest = values.iter().reduce(|one, other| pick(one, other, Ordering::Greater));
            let is_one_type = values.iter().all(|value| {
                least.is_some_and(|least| Scalar::of(value).compare(Scalar::of(least)).is_some())
            });
            match (values.as_slice(), is_one_type) {
                ([value], _) => known.entry(field).or_default().fix(value),
                ([_, ..], true) => known.entry(field).or_default().bound(least, greatest),
                _ => {}
            }
        }
        Filter::Like { field, pattern } => {
            let known = known.entry(field).or_default();
            match pattern.split_once('*') {
                None => known.fix(&Value::from(pattern.as_str())),
                Some(("", _)) => {}
                Some((prefix, _)) => {
                    let upper = after_prefix(prefix).map(Value::from);
                    known.bound(Some(&Value::from(prefix)), upper.as_ref());
                }
            }
        }
        Filter::Is { field, state } => {
            let known = known.entry(field).or_default();
            match state {
                State::Null => known.fix(&Value::Null),
                State::True => known.fix(&Value::Bool(true)),
                State::False => known.fix(&Value::Bool(false)),
                State::NotNull => {}
            }
        }
        Filter::Or(_) | Filter::Not(_) => {}
    }
}

impl Known {
    fn fix(&mut self, value: &Value) {
        self.equal.get_or_insert_with(|| value.clone());
    }

    fn bound(&mut self, lower: Option<&Value>, upper: Option<&Value>) {
        let range = self.range.get_or_insert_default();
        narrow(&mut range.lower, lower, Ordering::Greater);
        narrow(&mut range.upper, upper, Ordering::Less);
    }
}

fn narrow(bound: &mut Option<Value>, by: Option<&Value>, keep: Ordering) {
    *bound = match (bound.take(), by) {
        (Some(one), Some(other)) => Some(pick(&one, other, keep).clone()),
        (one, other) => one.or_else(|| other.cloned()),
    };
}

/// Gives the lesser or the greater of two values; the first one of two that do not compare.
fn pick<'a>(one: &'a Value, other: &'a Value, keep: Ordering) -> &'a Value {
    match Scalar::of(other).compare(Scalar::of(one)) == Some(keep) {
        true => other,
        false => one,
    }
}

/// Gives a text after every text that begins with a prefix; `None` when there is none.
fn after_prefix(prefix: &str) -> Option<String> {
    let mut prefix = prefix.to_owned();
    while let Some(last) = prefix.pop() {
        // The surrogates lie between the two, and are no characters.
        let next = if last == '\u{d7ff}' { Some('\u{e000}') } else { char::from_u32(u32::from(last) + 1) };
        if let Some(next) = next {
            prefix.push(next);
            return Some(prefix);
        }
    }
    None
}

fn check_fields(filter: Option<&Filter>, indexes: &[Index]) -> Result<(), Error> {
    for field in filter.map(Filter::fields).unwrap_or_default() {
        let mut columns = indexes.iter().flat_map(|index| &index.columns);
        if field.as_str() != ID && !columns.any(|column| column.field == *field) {
            let reason = "no index of the collection has this field".to_owned();
            return Err(Error::NotIndexed { field: field.to_string(), reason });
        }
    }
    Ok(())
}

fn no_order(order: &[Order], indexes: &[Index]) -> Error {
    let is_indexed = |order: &&Order| {
        indexes.iter().flat_map(|index| &index.columns).any(|column| column.field == order.field)
    };
    let unindexed = order.iter().find(|order| order.field.as_str() != ID && !is_indexed(order));
    let field = unindexed.or(order.first()).map(|order| order.field.to_string()).unwrap_or_default();
    let spelled: Vec<String> = order
        .iter()
        .map(|order| format!("{}{}", if order.descending { "-" } else { "" }, order.field))
        .collect();
    Error::NotIndexed { field, reason: format!("no index gives the order `{}`", spelled.join(",")) }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
