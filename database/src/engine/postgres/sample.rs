//! A fair sample of a collection's records ([`crate::find::estimate`]).
//!
//! A record's lot is a hash of its name. Of a large collection the sample is read from an index of its own, of a small one
//! from the names.

use super::readers::Readers;
use crate::engine::numbers::number;
use crate::find::estimate::{Estimating, SAMPLE_LIMIT, Sample};
use crate::find::{Find, Total};
use crate::{Error, limits};

pub(super) const COUNT: &str = include_str!("sql/get_count.sql");
pub(super) const INDEXED: &str = include_str!("sql/sample_indexed.sql");
pub(super) const NAMED: &str = include_str!("sql/sample_named.sql");

/// How many records of a sample are read together.
const PIECE: usize = 250;

/// Tells how many records a collection has.
pub(super) async fn count(readers: &Readers, namespace: &str, collection: &str) -> Result<u64, Error> {
    let rows = readers.ask(COUNT, &[&namespace, &collection]).await?;
    Ok(rows.first().map_or(0, |row| number(row.get(0))))
}

/// Estimates how many records match, of which so many were counted one by one.
pub(super) async fn estimate(
    readers: &Readers,
    namespace: &str,
    find: &Find,
    counted: u64,
) -> Result<Total, Error> {
    let collection = find.collection.as_str();
    let population = count(readers, namespace, collection).await?;
    let sample = Sample::of(population);
    let threshold = i32::try_from(sample.threshold).unwrap_or(i32::MAX);
    let sql = if sample.is_indexed { INDEXED } else { NAMED };
    let rows = readers.ask(sql, &[&namespace, &collection, &threshold, &(SAMPLE_LIMIT as i64)]).await?;
    let mut ids: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    let mut estimating = Estimating::new(find);
    while !ids.is_empty() {
        let rest = ids.split_off(ids.len().min(PIECE));
        let page = readers.some(namespace, collection, &ids).await?;
        for record in &page.records {
            // An answer that ends early is a full one.
            let size = if page.next.is_some() { limits::ANSWER_BYTES / page.records.len() } else { 0 };
            if estimating.take(record, size).is_break() {
                return Ok(estimating.finish(population, counted));
            }
        }
        let unread = page.next.and_then(|next| ids.iter().position(|id| *id == next));
        let mut left = unread.map_or_else(Vec::new, |place| ids.split_off(place));
        left.extend(rest);
        ids = left;
    }
    Ok(estimating.finish(population, counted))
}
