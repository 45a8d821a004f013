//! Counting and summing records by group; pure.

use std::collections::HashMap;

use serde_json::{Map, Number, Value, json};

/// The most groups of one report; a field with more is not one to group by, and memory is bounded.
const GROUP_LIMIT: usize = 10_000;

/// The longest value that makes a group, in bytes of its JSON text.
const KEY_LIMIT: usize = 1024;

/// What stands beside a sum that is `null`.
const SUM_TOO_LARGE: &str = "the sum is larger than a number can be";

/// Why records cannot be grouped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AggregateError {
    /// The field has too many different values.
    #[error("`{field}` has more than {GROUP_LIMIT} different values")]
    TooManyGroups {
        /// The field.
        field: String,
    },
    /// A value of the field is too long.
    #[error("a value of `{field}` is longer than {KEY_LIMIT} bytes")]
    KeyTooLong {
        /// The field.
        field: String,
    },
}

/// A running count and sum of records by the value of one field.
#[derive(Debug)]
pub(crate) struct Aggregate {
    group_by: String,
    sum: Option<String>,
    total: Group,
    groups: HashMap<String, Group>,
}

#[derive(Debug, Default)]
struct Group {
    count: u64,
    sum: Sum,
    skipped: u64,
}

/// A sum that is exact for whole numbers and compensated for others (Neumaier 1974), so that it hardly
/// depends on the order of records.
#[derive(Debug, Default, Clone, Copy)]
struct Sum {
    whole: i128,
    fractions: f64,
    compensation: f64,
    has_fractions: bool,
}

impl Sum {
    fn add(&mut self, number: &Number) {
        if let Some(whole) = number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from)) {
            // Cannot overflow: 2^63 records of 2^64 each would be needed.
            self.whole += whole;
        } else if let Some(value) = number.as_f64() {
            let sum = self.fractions + value;
            self.compensation += match self.fractions.abs() >= value.abs() {
                true => (self.fractions - sum) + value,
                false => (value - sum) + self.fractions,
            };
            self.fractions = sum;
            self.has_fractions = true;
        }
    }

    /// Gives the sum; `null` when it is larger than a number of JSON can be.
    fn value(&self) -> Value {
        match i64::try_from(self.whole) {
            Ok(whole) if !self.has_fractions => json!(whole),
            // Beyond 2^53 a sum with fractions is as exact as a JSON number can be.
            _ => json!(self.whole as f64 + self.fractions + self.compensation),
        }
    }
}

impl Group {
    fn add(&mut self, value: Option<&Value>) {
        self.count += 1;
        match value {
            Some(Value::Number(number)) => self.sum.add(number),
            None | Some(Value::Null) => {}
            Some(_) => self.skipped += 1,
        }
    }

    fn describe(&self, with_sum: bool) -> Map<String, Value> {
        let mut described = Map::new();
        described.insert("count".to_owned(), json!(self.count));
        if with_sum {
            let sum = self.sum.value();
            if sum.is_null() {
                described.insert("note".to_owned(), json!(SUM_TOO_LARGE));
            }
            described.insert("sum".to_owned(), sum);
            described.insert("skipped".to_owned(), json!(self.skipped));
        }
        described
    }
}

impl Aggregate {
    /// Starts an aggregate of nothing.
    pub(crate) fn new(group_by: impl Into<String>, sum: Option<String>) -> Self {
        Self { group_by: group_by.into(), sum, total: Group::default(), groups: HashMap::new() }
    }

    /// Adds one record; a field it lacks groups as `null`, and what is no number adds nothing to the
    /// sum: it is counted as skipped, unless it is missing or `null`.
    pub(crate) fn add(&mut self, data: &Map<String, Value>) -> Result<(), AggregateError> {
        let key = data.get(&self.group_by).unwrap_or(&Value::Null).to_string();
        if key.len() > KEY_LIMIT {
            return Err(AggregateError::KeyTooLong { field: self.group_by.clone() });
        }
        let value = self.sum.as_ref().and_then(|field| data.get(field));
        if self.groups.len() >= GROUP_LIMIT && !self.groups.contains_key(&key) {
            return Err(AggregateError::TooManyGroups { field: self.group_by.clone() });
        }
        self.groups.entry(key).or_default().add(value);
        self.total.add(value);
        Ok(())
    }

    /// Gives the counts and sums, the largest group first.
    pub(crate) fn finish(self) -> Map<String, Value> {
        let with_sum = self.sum.is_some();
        let mut groups: Vec<(String, Group)> = self.groups.into_iter().collect();
        groups
            .sort_unstable_by(|(a_key, a), (b_key, b)| b.count.cmp(&a.count).then_with(|| a_key.cmp(b_key)));
        let groups = groups.into_iter().map(|(key, group)| {
            let mut described = group.describe(with_sum);
            described.insert("key".to_owned(), serde_json::from_str(&key).unwrap_or(Value::Null));
            Value::Object(described)
        });
        let mut result = self.total.describe(with_sum);
        result.insert("groups".to_owned(), groups.collect());
        result
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn aggregate(records: &[Value], sum: Option<&str>) -> Result<Map<String, Value>, AggregateError> {
        let mut aggregate = Aggregate::new("color", sum.map(str::to_owned));
        for record in records {
            aggregate.add(record.as_object().unwrap())?;
        }
        Ok(aggregate.finish())
    }

    #[test]
    fn records_are_counted_and_summed_by_group_largest_first() {
        let records = [
            json!({"color": "red", "price": 2}),
            json!({"color": "blue", "price": 0.5}),
            json!({"color": "red", "price": "free"}),
            json!({"price": 1}),
        ];
        let result = aggregate(&records, Some("price")).unwrap();
        assert_eq!(
            Value::Object(result),
            json!({"count": 4, "sum": 3.5, "skipped": 1, "groups": [
                {"key": "red", "count": 2, "sum": 2, "skipped": 1},
                {"key": "blue", "count": 1, "sum": 0.5, "skipped": 0},
                {"key": null, "count": 1, "sum": 1, "skipped": 0},
            ]})
        );
        assert_eq!(aggregate(&records, None).unwrap().get("sum"), None);
    }

    #[test]
    fn a_field_with_too_many_or_too_long_values_is_refused() {
        let many: Vec<Value> = (0..=GROUP_LIMIT).map(|n| json!({"color": n})).collect();
        assert!(aggregate(&many[..GROUP_LIMIT], None).is_ok());
        assert!(matches!(aggregate(&many, None), Err(AggregateError::TooManyGroups { .. })));
        let long = [json!({"color": "x".repeat(KEY_LIMIT)})];
        assert!(matches!(aggregate(&long, None), Err(AggregateError::KeyTooLong { .. })));
    }

    #[test]
    fn small_fractions_beside_a_large_one_are_not_lost() {
        let records =
            [json!({"price": 1e16}), json!({"price": 0.5}), json!({"price": 0.5}), json!({"price": -1e16})];
        assert_eq!(aggregate(&records, Some("price")).unwrap()["sum"], json!(1.0));
    }

    #[test]
    fn a_sum_larger_than_a_number_can_be_is_null_and_says_so() {
        let result =
            aggregate(&[json!({"price": 1.7e308}), json!({"price": 1.7e308})], Some("price")).unwrap();
        assert_eq!((&result["sum"], &result["note"]), (&Value::Null, &json!(SUM_TOO_LARGE)));
        let result = aggregate(&[json!({"price": 1})], Some("price")).unwrap();
        assert_eq!(result.get("note"), None);
    }

    proptest! {
        #[test]
        fn whole_numbers_are_summed_as_a_simple_model_sums_them(
            records in prop::collection::vec((prop::option::of(0u8..5), -1_000_000i64..1_000_000), 0..200)
        ) {
            let documents: Vec<Value> = records.iter().map(|(color, price)| match color {
                Some(color) => json!({"color": color, "price": price}),
                None => json!({"price": price}),
            }).collect();
            let result = aggregate(&documents, Some("price")).unwrap();
            prop_assert_eq!(&result["count"], &json!(records.len()));
            prop_assert_eq!(&result["sum"], &json!(records.iter().map(|(_, price)| price).sum::<i64>()));
            let groups = result["groups"].as_array().unwrap();
            let colors = [None, Some(0), Some(1), Some(2), Some(3), Some(4)];
            let mut present = 0;
            for color in colors {
                let prices: Vec<i64> =
                    records.iter().filter(|record| record.0 == color).map(|record| record.1).collect();
                let group = groups.iter().find(|group| group["key"] == json!(color));
                match group {
                    None => prop_assert!(prices.is_empty()),
                    Some(group) => {
                        present += 1;
                        prop_assert_eq!(&group["count"], &json!(prices.len()));
                        prop_assert_eq!(&group["sum"], &json!(prices.iter().sum::<i64>()));
                    }
                }
            }
            prop_assert_eq!(groups.len(), present);
        }
    }
}
