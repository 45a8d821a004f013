//! Walking an index for a question: pieces of its stretches, each one statement, until it is enough.
//!
//! A piece ends after so many rows or bytes; the next one begins after the place of its last record, as the next
//! page would. The records decide what matches ([`crate::find`]); what the index compares stands for their values
//! in the same order (`document`).

use std::ops::ControlFlow;

use serde_json::Value;
use tokio_postgres::types::ToSql;

use super::declared::{Declared, expression, of_collection, order};
use super::document::{searched_decimal, searched_text};
use super::readers::Readers;
use super::rows::read_record;
use super::sample;
use crate::find::field::{CREATED_AT, UPDATED_AT};
use crate::find::gather::{Counting, Gather};
use crate::find::plan::{Walk, is_of, plan};
use crate::find::segment::{Segment, segments};
use crate::find::{Find, Kind, Total};
use crate::limits::ANSWER_BYTES;
use crate::{Error, Page, Record, time};

/// The most rows of a piece.
const PIECE: i64 = 1001;

/// Answers a question for records by what they hold.
pub(super) async fn find(
    readers: &Readers,
    namespace: &str,
    find: &Find,
    declared: &Declared,
) -> Result<Page, Error> {
    let walk = plan(find, &declared.indexes, declared.scan)?;
    let source = Source { readers, namespace, collection: &find.collection, walk: &walk };
    let after = find.after.as_ref().map(|after| after.values.clone());
    let mut gather = Gather::new(find, &walk.name);
    // One more than asked for tells whether there is a next page.
    let first = i64::from(find.limit) + 1;
    source.walk(after, first, |record, size, place| gather.take(record, size, || place)).await?;
    let mut page = gather.finish();
    page.total = count(&source, find).await?;
    Ok(page)
}

/// Counts what matches, as far as that was asked: from what is kept, one by one, or by a sample.
async fn count(source: &Source<'_>, find: &Find) -> Result<Option<Total>, Error> {
    let Some(mut counting) = Counting::new(find) else { return Ok(None) };
    if find.filter.is_none() {
        let kept = sample::count(source.readers, source.namespace, source.collection).await?;
        return Ok(Some(Total::exactly(kept)));
    }
    source.walk(None, PIECE, |record, size, _| counting.take(&record, size)).await?;
    match counting.finish() {
        Ok(total) => Ok(Some(total)),
        Err(counted) => sample::estimate(source.readers, source.namespace, find, counted).await.map(Some),
    }
}

/// Where a walk goes along.
struct Source<'a> {
    readers: &'a Readers,
    namespace: &'a str,
    collection: &'a str,
    walk: &'a Walk,
}

impl Source<'_> {
    /// Reads records from a place on, until it is enough.
    async fn walk(
        &self,
        mut after: Option<Vec<Value>>,
        first: i64,
        mut take: impl FnMut(Record, usize, Vec<Value>) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        let mut most = first.min(PIECE);
        loop {
            let mut goes_on = false;
            for stretch in segments(self.walk, after.as_deref())? {
                let (sql, values) = statement(self.namespace, self.collection, self.walk, &stretch);
                let limits: [&(dyn ToSql + Sync); 2] = [&most, &(ANSWER_BYTES as i64)];
                let mut parameters: Vec<&(dyn ToSql + Sync)> = limits.to_vec();
                parameters.extend(values.iter().map(|value| &**value as &(dyn ToSql + Sync)));
                let rows = self.readers.ask(&sql, &parameters).await?;
                let (mut bytes, mut last) = (0, None);
                for row in &rows {
                    let (record, size) = read_record(row, self.collection)?;
                    bytes += size;
                    let place = place(&record, self.walk);
                    last = Some(place.clone());
                    if take(record, size, place).is_break() {
                        return Ok(());
                    }
                }
                if rows.len() as i64 == most || bytes > ANSWER_BYTES {
                    (after, goes_on) = (last, true);
                    break;
                }
            }
            if !goes_on {
                return Ok(());
            }
            most = (most * 4).min(PIECE);
        }
    }
}

/// A value of a statement.
type Bound = Box<dyn ToSql + Sync + Send>;

/// Writes the statement of one stretch, and what is bound to it after the limits of rows and bytes.
pub(super) fn statement(
    namespace: &str,
    collection: &str,
    walk: &Walk,
    stretch: &Segment,
) -> (String, Vec<Bound>) {
    let mut columns: Vec<(String, Kind)> =
        walk.columns.iter().map(|column| (expression(column), column.kind)).collect();
    columns.push(("id".to_owned(), Kind::Text));
    let mut conditions = vec![of_collection(namespace, collection)];
    let mut values: Vec<Bound> = Vec::new();
    let mut bind = |value: &Value, kind: Kind| {
        let (value, cast) = bound(value, kind);
        values.push(value);
        format!("${}{cast}", values.len() + 2)
    };
    for (value, (expression, kind)) in stretch.equals.iter().zip(&columns) {
        conditions.push(match value {
            Value::Null => format!("{expression} IS NULL"),
            value => format!("{expression} = {}", bind(value, *kind)),
        });
    }
    if let Some((expression, kind)) = columns.get(stretch.equals.len()) {
        if stretch.not_null && stretch.lower.is_none() && stretch.upper.is_none() {
            conditions.push(format!("{expression} IS NOT NULL"));
        }
        for (end, sign) in [(&stretch.lower, '>'), (&stretch.upper, '<')] {
            if let Some(end) = end {
                let equal = if end.inclusive { "=" } else { "" };
                conditions.push(format!("{expression} {sign}{equal} {}", bind(&end.value, *kind)));
            }
        }
    }
    // All of the index's columns, also those that are fixed: that null is one value the planner does not see.
    let mut orders: Vec<String> = columns[..walk.columns.len()]
        .iter()
        .zip(&walk.columns)
        .map(|((expression, _), column)| {
            format!("{expression} {}", order(column.descending != walk.backward))
        })
        .collect();
    orders.push(format!("id {}", if walk.backward { "DESC" } else { "ASC" }));
    let order = match walk.is_unique {
        true => String::new(),
        false => format!("ORDER BY {}", orders.join(", ")),
    };
    let sql = format!(
        "SELECT id, version, created_at, updated_at, document FROM (\
           SELECT piece.*, sum(octet_length(document)) OVER (ORDER BY row) - octet_length(document) AS before \
           FROM (\
             SELECT found.*, row_number() OVER () AS row FROM (\
               SELECT id, version, created_at, updated_at, coalesce(exact, data::text) AS document \
               FROM records WHERE {} {order} LIMIT $1\
             ) AS found\
           ) AS piece\
         ) AS bounded WHERE before <= $2 ORDER BY row",
        conditions.join(" AND "),
    );
    (sql, values)
}

/// Gives a value as the column's expression has it, and the cast to the expression's type.
fn bound(value: &Value, kind: Kind) -> (Bound, &'static str) {
    match (kind, value) {
        (Kind::Boolean, value) => (Box::new(value.as_bool()), "::boolean"),
        (Kind::Number, Value::Number(number)) => (Box::new(searched_decimal(number)), "::text::numeric"),
        (Kind::Text, Value::String(text)) => (Box::new(searched_text(text)), "::text"),
        // The plan gives a column no value of another type; nothing equals null.
        (Kind::Number, _) => (Box::new(None::<String>), "::text::numeric"),
        (Kind::Text, _) => (Box::new(None::<String>), "::text"),
    }
}

/// Tells where a record stands in the walk's free columns, and its name.
fn place(record: &Record, walk: &Walk) -> Vec<Value> {
    let free = walk.columns[walk.equals.len()..].iter();
    let values = free.map(|column| {
        let found = match column.field.as_str() {
            CREATED_AT => return Value::from(time::to_stored(record.created_at)),
            UPDATED_AT => return Value::from(time::to_stored(record.updated_at)),
            _ => {
                let mut names = column.field.names();
                let first = names.next().and_then(|name| record.data.get(name));
                names.fold(first, |found, name| found?.as_object()?.get(name))
            }
        };
        found.filter(|value| is_of(value, column.kind)).cloned().unwrap_or(Value::Null)
    });
    values.chain([Value::String(record.id.clone())]).collect()
}
