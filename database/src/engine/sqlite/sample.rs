//! A fair sample of a collection's records ([`crate::find::estimate`]).
//!
//! A record's lot is made of its number, which it keeps for life and which says nothing but when it was made. It is
//! multiplied, squared and reduced by primes, so that records made one after the other, or in any regular turn, have lots
//! without any order.

use rusqlite::{Connection, params};

use super::{counts, records};
use crate::find::estimate::{Estimating, SAMPLE_LIMIT, Sample};
use crate::find::{Find, Total};
use crate::{Error, limits};

/// Writes what is made of a number; the index `records_sampled` says the same.
macro_rules! lot {
    () => {
        "(number * 48271 % 2097143) * (number * 48271 % 2097143) % 1048573"
    };
}

pub(super) const INDEXED: &str = concat!(
    "SELECT number FROM records INDEXED BY records_sampled \
     WHERE namespace = ?1 AND collection = ?2 AND ",
    lot!(),
    " < 65536 AND ",
    lot!(),
    " < ?3 ORDER BY ",
    lot!(),
    " LIMIT ?4"
);
pub(super) const NAMED: &str = concat!(
    "SELECT number FROM records INDEXED BY sqlite_autoindex_records_1 \
     WHERE namespace = ?1 AND collection = ?2 AND ",
    lot!(),
    " < ?3 ORDER BY ",
    lot!(),
    " LIMIT ?4"
);
pub(super) const RECORD: &str =
    "SELECT id, version, created_at, updated_at, data FROM records WHERE number = ?1";

/// Estimates how many records match, of which so many were counted one by one.
pub(super) fn estimate(
    connection: &Connection,
    namespace: &str,
    find: &Find,
    counted: u64,
) -> Result<Total, Error> {
    debug_assert!(limits::is_name(&find.collection), "checked at the door");
    let population = counts::find(connection, namespace, &find.collection)?;
    let sample = Sample::of(population);
    let mut statement = connection.prepare_cached(if sample.is_indexed { INDEXED } else { NAMED })?;
    let chosen = params![namespace, find.collection, sample.threshold, SAMPLE_LIMIT as i64];
    let numbers: Vec<i64> = statement.query_map(chosen, |row| row.get(0))?.collect::<Result<_, _>>()?;
    let mut estimating = Estimating::new(find);
    let mut read = connection.prepare_cached(RECORD)?;
    for number in numbers {
        let mut rows = read.query([number])?;
        let Some(row) = rows.next()? else { continue };
        let (record, size) = records::read(row, &find.collection)?;
        if estimating.take(&record, size).is_break() {
            break;
        }
    }
    Ok(estimating.finish(population, counted))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::sqlite::schema;
    use crate::find::estimate::LOTS;

    #[test]
    fn lots_are_fair_also_to_what_comes_in_regular_turns() {
        let mut connection = Connection::open_in_memory().unwrap();
        schema::migrate(&mut connection).unwrap();
        for (from, count) in [(1, 5_000), (1, 100_000), (3_000_000_000_i64, 100_000)] {
            for turn in [2, 3, 7, 10, 16, 100, 987] {
                let sql = format!(
                    "WITH RECURSIVE counting (number) AS (SELECT {from} UNION ALL SELECT number + 1 FROM counting LIMIT {count}) \
                     SELECT count(*) FILTER (WHERE number % {turn} = 0), count(*) FROM counting WHERE {} < {}",
                    lot!(),
                    LOTS * 1_000 / count,
                );
                let (due, all): (f64, f64) =
                    connection.query_row(&sql, (), |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
                assert!((850.0..1_150.0).contains(&all), "{from} {count}: {all}");
                let share = 1.0 / f64::from(turn);
                // Four standard errors.
                let allowed = 4.0 * (share * (1.0 - share) / all).sqrt();
                assert!((due / all - share).abs() < allowed, "{from} {count} every {turn}: {due} of {all}");
            }
        }
    }
}
