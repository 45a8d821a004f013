//! Rows of records, changes and kept answers, read; of jobs: [`super::job_rows`].

use tokio_postgres::Row;

use super::draft::Kept;
use super::fault::Fault;
use crate::change::ChangeKind;
use crate::engine::filling::Filling;
use crate::engine::numbers::number;
use crate::{Change, Earlier, Error, Page, Record, time};

/// Reads the five columns of a record, and how long its data is as text.
pub(super) fn read_record(row: &Row, collection: &str) -> Result<(Record, usize), Error> {
    let text: &str = row.try_get(4).map_err(unreadable)?;
    let read = || {
        Ok::<_, tokio_postgres::Error>(Record {
            collection: collection.to_owned(),
            id: row.try_get(0)?,
            version: number(row.try_get(1)?),
            created_at: time::from_stored(row.try_get(2)?),
            updated_at: time::from_stored(row.try_get(3)?),
            data: serde_json::Map::new(),
            unreadable: false,
        })
    };
    let record = read().map_err(unreadable)?;
    Ok((record.with_stored(text), text.len()))
}

/// Reads earlier versions, of which one more than fit tells that there are more.
pub(super) fn read_history(rows: &[Row], collection: &str, limit: u32) -> Result<Page, Error> {
    let mut filling = Filling::new(limit);
    for row in rows {
        let (record, size) = read_record(row, collection)?;
        let until = time::from_stored(row.try_get(5).map_err(unreadable)?);
        if filling.take(Earlier { record, until }, size).is_break() {
            break;
        }
    }
    let (earlier, has_earlier) = filling.finish();
    Ok(Page { earlier, has_earlier, ..Page::default() })
}

/// Reads the six columns of a change.
pub(super) fn read_change(row: &Row) -> Result<Change, Fault> {
    let kind = ChangeKind::from_stored(row.try_get(4)?);
    let kind = kind.ok_or(Fault::Inconsistent("the kind of a change is unknown"))?;
    Ok(Change {
        sequence: number(row.try_get(0)?),
        namespace: row.try_get(1)?,
        collection: row.try_get(2)?,
        id: row.try_get(3)?,
        kind,
        at: row.try_get(5)?,
    })
}

/// Reads the sequence of a namespace's latest change.
pub(super) fn read_latest(rows: &[Row]) -> Result<Option<u64>, Error> {
    let latest: Option<i64> =
        rows.first().map(|row| row.try_get(0)).transpose().map_err(unreadable)?.flatten();
    Ok(latest.map(number))
}

/// Reads the two columns of a kept answer.
pub(super) fn read_answer(row: &Row) -> Result<Kept, Error> {
    let committed: &str = row.try_get(1).map_err(unreadable)?;
    let committed = serde_json::from_str(committed)
        .map_err(|error| Error::Storage { reason: format!("a kept answer: {error}") })?;
    Ok(Kept { fingerprint: row.try_get(0).map_err(unreadable)?, committed, expires_at: None })
}

/// Says that a row does not hold what it should.
pub(super) fn unreadable(fault: impl Into<Fault>) -> Error {
    Error::Storage { reason: fault.into().to_string() }
}
