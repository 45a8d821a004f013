//! What a collection declares of itself: which fields are indexed, and which are unique.

use serde::{Deserialize, Serialize};

use super::field::{Field, ID};
use crate::{Error, limits};

/// The most indexes of one collection; each costs every write.
pub const INDEX_LIMIT: usize = 16;

/// The most columns of one index.
pub const COLUMN_LIMIT: usize = 4;

/// The most earlier versions of a record.
pub const HISTORY_LIMIT: u32 = 1000;

/// The longest that an earlier version is kept by its age, in milliseconds: a hundred years.
pub const HISTORY_AGE_LIMIT_MS: u64 = 100 * 366 * 86_400_000;

/// What a collection declares.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Declaration {
    /// The collection.
    pub collection: String,
    /// Its indexes. They are made where they are missing; those that were declared before and are not any more
    /// stay, because an instance of an earlier release may still need them.
    #[serde(default)]
    pub indexes: Vec<Index>,
    /// Indexes that are removed if they are there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dropped: Vec<Index>,
    /// Whether filters may ask about fields that no index has.
    #[serde(default)]
    pub scan: bool,
    /// How many earlier versions of each record are kept; at most [`HISTORY_LIMIT`].
    #[serde(default)]
    pub history: u32,
    /// How long each is kept, in milliseconds; until there are too many without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history_age_ms: Option<u64>,
}

/// Fields by which records are found in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Index {
    /// Its columns, the first one deciding first; the record's name decides last.
    pub columns: Vec<Column>,
    /// Whether no two records may have the same in all columns. A record with null in one of them is free.
    #[serde(default)]
    pub unique: bool,
}

/// One field of an index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    /// The field.
    pub field: Field,
    /// The type of its values; a value of another type counts as null here.
    pub kind: Kind,
    /// Whether the greatest comes first.
    #[serde(default)]
    pub descending: bool,
}

/// The type of the values in a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Strings, by the bytes of their UTF-8.
    Text,
    /// Numbers, by value; `created_at` and `updated_at` are numbers.
    Number,
    /// `false`, then `true`.
    Boolean,
}

impl Index {
    /// Spells it: equal indexes have equal names.
    pub fn name(&self) -> String {
        let columns: Vec<String> = self.columns.iter().map(Column::name).collect();
        let unique = if self.unique { "unique " } else { "" };
        format!("{unique}{}", columns.join(","))
    }

    /// Names its fields.
    pub fn fields(&self) -> Vec<String> {
        self.columns.iter().map(|column| column.field.to_string()).collect()
    }

    fn check(&self) -> Result<(), Error> {
        if self.columns.is_empty() || self.columns.len() > COLUMN_LIMIT {
            return invalid(format!("an index has 1 to {COLUMN_LIMIT} fields"));
        }
        for (place, column) in self.columns.iter().enumerate() {
            if column.field.as_str() == ID {
                return invalid("every index ends with `id`, so none names it");
            }
            if column.field.is_of_record() && column.kind != Kind::Number {
                return invalid(format!("`{}` is a number", column.field));
            }
            if self.columns[..place].iter().any(|earlier| earlier.field == column.field) {
                return invalid(format!("an index has `{}` twice", column.field));
            }
        }
        Ok(())
    }
}

impl Column {
    fn name(&self) -> String {
        let kind = match self.kind {
            Kind::Text => "text",
            Kind::Number => "number",
            Kind::Boolean => "boolean",
        };
        format!("{}{}:{kind}", if self.descending { "-" } else { "" }, self.field)
    }
}

impl Declaration {
    /// Declares what an engine keeps of a collection.
    pub(crate) fn of_stored(
        collection: String,
        indexes: Vec<Index>,
        scan: bool,
        history: (u32, Option<i64>),
    ) -> Self {
        let history_age_ms = history.1.map(|age| u64::try_from(age / 1000).unwrap_or(0));
        Self { collection, indexes, scan, history: history.0, history_age_ms, ..Self::default() }
    }

    /// Gives the age as it is stored, in microseconds.
    pub(crate) fn history_age(&self) -> Option<i64> {
        self.history_age_ms.map(|age| i64::try_from(age.saturating_mul(1000)).unwrap_or(i64::MAX))
    }

    /// Says which of its unique indexes the records contradict; nothing when there are none.
    pub(crate) fn contradicted<'a>(&self, by: impl IntoIterator<Item = &'a Index>) -> Option<Error> {
        let reason = |index: &Index| {
            format!("records of {} have the same {} already", self.collection, index.fields().join(", "))
        };
        let reasons: Vec<String> = by.into_iter().map(reason).collect();
        (!reasons.is_empty()).then(|| Error::Invalid { reason: reasons.join("; ") })
    }

    /// Checks that it is of a bounded size and makes sense.
    pub(crate) fn check(&self) -> Result<(), Error> {
        limits::check_name("collection", &self.collection)?;
        if self.indexes.len() > INDEX_LIMIT || self.dropped.len() > INDEX_LIMIT {
            return invalid(format!("a collection has at most {INDEX_LIMIT} indexes"));
        }
        if self.history > HISTORY_LIMIT {
            return invalid(format!("a record has at most {HISTORY_LIMIT} earlier versions"));
        }
        if self.history_age_ms.is_some_and(|age| !(1..=HISTORY_AGE_LIMIT_MS).contains(&age)) {
            return invalid(format!("an earlier version is kept 1 to {HISTORY_AGE_LIMIT_MS} ms"));
        }
        self.indexes.iter().chain(&self.dropped).try_for_each(Index::check)?;
        match self.dropped.iter().find(|dropped| self.indexes.contains(dropped)) {
            Some(both) => invalid(format!("the index `{}` is declared and dropped", both.name())),
            None => Ok(()),
        }
    }
}

fn invalid<T>(reason: impl Into<String>) -> Result<T, Error> {
    Err(Error::Invalid { reason: reason.into() })
}
