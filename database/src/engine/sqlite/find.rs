//! Walking an index for a question: one statement a stretch, rows read only as far as they are needed.

use std::ops::ControlFlow;

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, Row, ToSql, params_from_iter};
use serde_json::Value;

use super::declared::{Declared, Form, expression, of_collection, sql_name};
use super::{counts, index_table, records, sample};
use crate::find::gather::{Counting, Gather};
use crate::find::plan::{Walk, plan};
use crate::find::segment::{Segment, segments};
use crate::find::{Find, Kind, Total};
use crate::{Error, Page, Record};

/// The columns of a record, which the columns of the walk follow.
const RECORD: usize = 5;

/// Answers a question for records by what they hold.
pub(super) fn find(
    connection: &Connection,
    namespace: &str,
    find: &Find,
    declared: &Declared,
) -> Result<Page, Error> {
    let walk = plan(find, &declared.indexes, declared.scan)?;
    let after = find.after.as_ref().map(|after| after.values.as_slice());
    let stretches = segments(&walk, after)?;
    let source = Source { connection, namespace, collection: &find.collection, walk: &walk, declared };
    let mut gather = Gather::new(find, &walk.name);
    source.walk(&stretches, |row, record, size| gather.take(record, size, || place(row, &walk)))?;
    let mut page = gather.finish();
    page.total = count(&source, find)?;
    // A table that was dropped meanwhile was not kept any more, and its number is never used again.
    let place = walk.index.map(|place| declared.numbers[place]);
    match place {
        Some((number, Form::Table)) if !index_table::is_full(connection, number)? => {
            Err(Error::Unavailable { reason: "an index was just dropped".into() })
        }
        _ => Ok(page),
    }
}

/// Counts what matches, as far as that was asked: from what is kept, one by one, or by a sample.
fn count(source: &Source<'_>, find: &Find) -> Result<Option<Total>, Error> {
    let Some(mut counting) = Counting::new(find) else { return Ok(None) };
    if find.filter.is_none() {
        let kept = counts::find(source.connection, source.namespace, source.collection)?;
        return Ok(Some(Total::exactly(kept)));
    }
    source.walk(&segments(source.walk, None)?, |_, record, size| counting.take(&record, size))?;
    match counting.finish() {
        Ok(total) => Ok(Some(total)),
        Err(counted) => sample::estimate(source.connection, source.namespace, find, counted).map(Some),
    }
}

/// Where a walk goes along.
struct Source<'a> {
    connection: &'a Connection,
    namespace: &'a str,
    collection: &'a str,
    walk: &'a Walk,
    declared: &'a Declared,
}

impl Source<'_> {
    /// Reads the rows of stretches, one after the other, until it is enough.
    fn walk(
        &self,
        stretches: &[Segment],
        mut take: impl FnMut(&Row<'_>, Record, usize) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        for stretch in stretches {
            let (sql, values) = statement(self.namespace, self.collection, self.walk, self.declared, stretch);
            let mut statement = self.connection.prepare_cached(&sql)?;
            let mut rows = statement.query(params_from_iter(values))?;
            while let Some(row) = rows.next()? {
                let (record, size) = records::read(row, self.collection)?;
                if take(row, record, size).is_break() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

/// Writes the statement of one stretch, and what is bound to it.
pub(super) fn statement(
    namespace: &str,
    collection: &str,
    walk: &Walk,
    declared: &Declared,
    stretch: &Segment,
) -> (String, Vec<Bindable>) {
    let place = walk.index.map(|place| declared.numbers[place]);
    let (from, expressions, mut conditions): (String, Vec<String>, Vec<String>) = match place {
        Some((number, Form::Table)) => (
            format!(
                "{} INDEXED BY {} CROSS JOIN records ON number = record",
                sql_name(number),
                index_table::order_name(number)
            ),
            (0..walk.columns.len()).map(index_table::column).chain(["name".to_owned()]).collect(),
            Vec::new(),
        ),
        _ => (
            format!(
                "records INDEXED BY {}",
                place.map_or_else(|| "sqlite_autoindex_records_1".to_owned(), |(number, _)| sql_name(number))
            ),
            walk.columns.iter().map(|column| expression("", column)).chain(["id".to_owned()]).collect(),
            vec![of_collection("", namespace, collection)],
        ),
    };
    let mut values = Vec::new();
    for (value, expression) in stretch.equals.iter().zip(&expressions) {
        match value {
            Value::Null => conditions.push(format!("{expression} IS NULL")),
            value => {
                values.push(Bindable(value.clone()));
                conditions.push(format!("{expression} = ?{}", values.len()));
            }
        }
    }
    if let Some(expression) = expressions.get(stretch.equals.len()) {
        if stretch.not_null && stretch.lower.is_none() && stretch.upper.is_none() {
            conditions.push(format!("{expression} IS NOT NULL"));
        }
        for (bound, sign) in [(&stretch.lower, '>'), (&stretch.upper, '<')] {
            if let Some(bound) = bound {
                values.push(Bindable(bound.value.clone()));
                let equal = if bound.inclusive { "=" } else { "" };
                conditions.push(format!("{expression} {sign}{equal} ?{}", values.len()));
            }
        }
    }
    let descending = walk.columns.iter().map(|column| column.descending).chain([false]);
    // What is fixed is left out: of an expression SQLite does not see that it has one value, and would sort.
    let free = expressions.iter().zip(descending).skip(stretch.equals.len());
    let order = free.map(|(expression, descending)| {
        format!("{expression}{}", if descending != walk.backward { " DESC" } else { "" })
    });
    let order: Vec<String> = order.collect();
    let order = if walk.is_unique { String::new() } else { format!(" ORDER BY {}", order.join(", ")) };
    let free: Vec<String> =
        expressions[walk.equals.len()..walk.columns.len()].iter().map(|free| format!(", {free}")).collect();
    let conditions = if conditions.is_empty() { "true".to_owned() } else { conditions.join(" AND ") };
    let sql = format!(
        "SELECT id, version, created_at, updated_at, data{} FROM {from} WHERE {conditions}{order}",
        free.concat()
    );
    (sql, values)
}

/// Reads where a row stands in the walk's free columns, as the index has it, and its name.
fn place(row: &Row<'_>, walk: &Walk) -> Vec<Value> {
    let free = walk.columns[walk.equals.len()..].iter().enumerate();
    let values = free.map(|(number, column)| match (row.get_ref(RECORD + number), column.kind) {
        (Ok(ValueRef::Integer(flag)), Kind::Boolean) => Value::Bool(flag != 0),
        (Ok(ValueRef::Integer(number)), _) => Value::from(number),
        (Ok(ValueRef::Real(number)), _) => Value::from(number),
        (Ok(ValueRef::Text(text)), _) => Value::from(String::from_utf8_lossy(text)),
        _ => Value::Null,
    });
    let name = row.get(0).unwrap_or_default();
    values.chain([Value::String(name)]).collect()
}

/// A boolean, number or string as SQLite takes it.
#[derive(Debug)]
pub(super) struct Bindable(Value);

impl ToSql for Bindable {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match &self.0 {
            Value::Bool(flag) => i64::from(*flag).into(),
            Value::Number(number) => match (number.as_i64(), number.as_f64()) {
                (Some(whole), _) => whole.into(),
                (None, fraction) => fraction.unwrap_or(0.0).into(),
            },
            Value::String(text) => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())),
            _ => rusqlite::types::Null.into(),
        })
    }
}

#[cfg(test)]
#[path = "find_tests.rs"]
mod tests;
