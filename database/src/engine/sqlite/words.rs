//! Words in columns that hold only some.

use rusqlite::Row;
use rusqlite::types::Type;

/// Reads a word of which there are only some: another one is no valid state of anything.
pub(super) fn read_word<T>(
    row: &Row<'_>,
    column: usize,
    read: impl FnOnce(&str) -> Option<T>,
) -> rusqlite::Result<T> {
    let word = row.get_ref(column)?.as_str()?;
    read(word).ok_or_else(|| {
        let reason = format!("`{word}` is none of the words it can be");
        rusqlite::Error::FromSqlConversionFailure(column, Type::Text, reason.into())
    })
}
