//! What a request may look like, whatever the engine: names, sizes, numbers. Other crates check by the same limits.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::job::{JobFilter, MAX_ATTEMPTS_LIMIT};
use crate::record::PAGE_LIMIT;
use crate::transaction::{KEEP_LIMIT_MS, OPERATION_LIMIT};
use crate::{Declaration, Error, JobCommand, NewJob, Operation, Query, Transaction};

/// The longest namespace, collection, queue or kind, in bytes.
pub const NAME_LIMIT: usize = 64;

/// The longest name of a record, in bytes; well under what an index page of SQLite holds.
pub const ID_LIMIT: usize = 255;

/// The largest record, payload or result, in bytes of JSON.
pub const DOCUMENT_LIMIT: usize = 1 << 20;

/// How deep a record, payload or result is nested at most: it is one level, each list or object within it one more.
///
/// JSON is read 127 levels deep and no deeper (`serde_json`), and up to six of ours stand around a document: a page, its
/// kept answer, what was committed, the outcomes, one of them, its record. The rest of the way down to 100 is for the envelopes of clients, and some of those read no more than 100 themselves.
pub const NESTING_LIMIT: usize = 100;

/// The longest error text that is kept of an attempt, in bytes.
const ERROR_LIMIT: usize = 8 << 10;

/// The most bytes of documents in one answer; a page ends early rather than exceed a caller's memory.
pub(crate) const ANSWER_BYTES: usize = 8 << 20;

/// The most queues one claim may name.
pub const CLAIM_QUEUES: usize = 64;

/// The most jobs of one claim.
pub const CLAIM_LIMIT: u32 = 1000;

/// The longest lease, in milliseconds: a day.
pub const LEASE_LIMIT_MS: u64 = 86_400_000;

/// Checks a transaction.
pub(crate) fn check_transaction(transaction: &Transaction) -> Result<(), Error> {
    check_name("namespace", &transaction.namespace)?;
    let count = transaction.operations.len();
    if count == 0 || count > OPERATION_LIMIT {
        return invalid(format!("a transaction has 1 to {OPERATION_LIMIT} operations, not {count}"));
    }
    let has_late_key =
        transaction.operations.iter().skip(1).any(|operation| matches!(operation, Operation::Once { .. }));
    if has_late_key {
        return invalid("`once` is the first operation of a transaction");
    }
    transaction.operations.iter().try_for_each(|operation| match operation {
        Operation::Once { key, fingerprint, keep_ms } => {
            check_key(key)?;
            check_key(fingerprint)?;
            match keep_ms {
                1..=KEEP_LIMIT_MS => Ok(()),
                _ => invalid(format!("a key stands 1 to {KEEP_LIMIT_MS} ms")),
            }
        }
        Operation::Put { collection, id, data, .. } => {
            check_record(collection, id)?;
            check_object("the record", data)
        }
        Operation::Patch { collection, id, patch, .. } => {
            check_record(collection, id)?;
            check_object("the patch", patch)
        }
        Operation::Delete { collection, id, .. } | Operation::Require { collection, id, .. } => {
            check_record(collection, id)
        }
        Operation::Move { collection, id, to, .. } => {
            check_record(collection, id)?;
            check_name("collection", to)?;
            match collection == to {
                true => invalid("a record moves to another collection"),
                false => Ok(()),
            }
        }
        Operation::Rewrite { collection, id, data, .. } => {
            check_record(collection, id)?;
            check_object("the record", data)
        }
        Operation::Trim { collection } => check_name("collection", collection),
        Operation::Enqueue { job } => check_job(job),
    })
}

/// Checks a question about records.
pub(crate) fn check_query(namespace: &str, query: &Query) -> Result<(), Error> {
    check_name("namespace", namespace)?;
    match query {
        Query::Get { collection, id } => check_record(collection, id),
        Query::List { collection, limit, .. } => {
            check_name("collection", collection)?;
            check_page(*limit)
        }
        Query::Find(find) => find.check(),
        Query::Some { collection, ids } => {
            check_page(u32::try_from(ids.len()).unwrap_or(u32::MAX))?;
            ids.iter().try_for_each(|id| check_record(collection, id))
        }
        Query::History { collection, id, limit, .. } => {
            check_record(collection, id)?;
            check_page(*limit)
        }
        Query::Latest => Ok(()),
        Query::Answer { key } => check_key(key),
    }
}

/// Checks what a collection declares.
pub(crate) fn check_declaration(namespace: &str, declaration: &Declaration) -> Result<(), Error> {
    check_name("namespace", namespace)?;
    declaration.check()
}

/// Checks the limit of a page.
pub(crate) fn check_page(limit: u32) -> Result<(), Error> {
    match limit {
        1..=PAGE_LIMIT => Ok(()),
        _ => invalid(format!("a page has 1 to {PAGE_LIMIT} entries, not {limit}")),
    }
}

/// Checks a listing of jobs.
pub(crate) fn check_filter(filter: &JobFilter) -> Result<(), Error> {
    filter.limit.map_or(Ok(()), check_page)
}

/// Checks a command on jobs.
pub(crate) fn check_command(command: &JobCommand) -> Result<(), Error> {
    match command {
        JobCommand::Claim { queues, limit, lease_ms, .. } => {
            if queues.is_empty() || queues.len() > CLAIM_QUEUES {
                return invalid(format!("a claim names 1 to {CLAIM_QUEUES} queues"));
            }
            queues.iter().try_for_each(|queue| check_name("queue", queue))?;
            if !(1..=CLAIM_LIMIT).contains(limit) {
                return invalid(format!("a claim takes 1 to {CLAIM_LIMIT} jobs"));
            }
            check_lease(*lease_ms)
        }
        JobCommand::Extend { lease_ms, progress, .. } => {
            if progress.is_some_and(|progress| !(0.0..=1.0).contains(&progress)) {
                return invalid("progress is from 0 to 1");
            }
            check_lease(*lease_ms)
        }
        JobCommand::Succeed { result, .. } => check_document("the result", result),
        JobCommand::Fail { error, .. } if error.len() > ERROR_LIMIT => {
            invalid(format!("the error has more than {ERROR_LIMIT} bytes"))
        }
        JobCommand::Fail { .. } | JobCommand::Cancel { .. } | JobCommand::Retry { .. } => Ok(()),
    }
}

fn check_lease(lease_ms: u64) -> Result<(), Error> {
    match lease_ms {
        1..=LEASE_LIMIT_MS => Ok(()),
        _ => invalid(format!("a lease holds 1 to {LEASE_LIMIT_MS} ms")),
    }
}

fn check_job(job: &NewJob) -> Result<(), Error> {
    check_name("queue", &job.queue)?;
    check_name("kind", &job.kind)?;
    if job.max_attempts.is_some_and(|most| !(1..=MAX_ATTEMPTS_LIMIT).contains(&most)) {
        return invalid(format!("a job has 1 to {MAX_ATTEMPTS_LIMIT} attempts"));
    }
    if job.traceparent.as_ref().is_some_and(|trace| trace.len() > ID_LIMIT) {
        return invalid("the traceparent is too long");
    }
    check_document("the payload", &job.payload)
}

fn check_key(key: &str) -> Result<(), Error> {
    match !key.is_empty() && key.len() <= ID_LIMIT && !key.chars().any(char::is_control) {
        true => Ok(()),
        false => invalid(format!("a key has 1 to {ID_LIMIT} bytes and no control characters")),
    }
}

fn check_record(collection: &str, id: &str) -> Result<(), Error> {
    check_name("collection", collection)?;
    if id.is_empty() || id.len() > ID_LIMIT || id.chars().any(char::is_control) {
        return invalid(format!("a record's name has 1 to {ID_LIMIT} bytes and no control characters"));
    }
    Ok(())
}

/// Tells whether a text can name a namespace, collection, queue or kind: 1 to [`NAME_LIMIT`] letters, digits,
/// `_`, `-` and `.`, so that it needs no quoting in paths, field values and metrics.
pub fn is_name(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    (1..=NAME_LIMIT).contains(&text.len()) && text.bytes().all(is_plain)
}

/// Checks a namespace, collection, queue or kind.
pub(crate) fn check_name(what: &str, name: &str) -> Result<(), Error> {
    match is_name(name) {
        true => Ok(()),
        false => invalid(format!("a {what} has 1 to {NAME_LIMIT} letters, digits, `_`, `-` or `.`")),
    }
}

/// Checks how deep an object is nested and how large it is once written.
pub(crate) fn check_object(what: &str, object: &Map<String, Value>) -> Result<(), Error> {
    match too_deep(object).next() {
        Some(name) => invalid(format!("{what} is nested deeper than {NESTING_LIMIT} levels in `{name}`")),
        None => check_size(what, object),
    }
}

/// Checks how deep any document is nested and how large it is once written.
fn check_document(what: &str, document: &Value) -> Result<(), Error> {
    match is_within(document, NESTING_LIMIT) {
        true => check_size(what, document),
        false => invalid(format!("{what} is nested deeper than {NESTING_LIMIT} levels")),
    }
}

/// Names the members with which an object is nested deeper than [`NESTING_LIMIT`].
pub fn too_deep(object: &Map<String, Value>) -> impl Iterator<Item = &str> {
    let deep = object.iter().filter(|(_, value)| !is_within(value, NESTING_LIMIT - 1));
    deep.map(|(name, _)| name.as_str())
}

/// Tells whether a value has at most so many levels; looks no deeper than that, however deep it is.
pub fn is_within(value: &Value, levels: usize) -> bool {
    match value {
        Value::Array(items) => levels > 0 && items.iter().all(|item| is_within(item, levels - 1)),
        Value::Object(members) => levels > 0 && members.values().all(|member| is_within(member, levels - 1)),
        _ => true,
    }
}

/// Checks how large a document is once written.
fn check_size(what: &str, document: &impl Serialize) -> Result<(), Error> {
    let mut size = Count(0);
    match serde_json::to_writer(&mut size, document) {
        Ok(()) if size.0 <= DOCUMENT_LIMIT => Ok(()),
        Ok(()) => invalid(format!("{what} has more than {DOCUMENT_LIMIT} bytes")),
        Err(error) => invalid(format!("{what} cannot be written: {error}")),
    }
}

/// Counts bytes without keeping them.
struct Count(usize);

impl std::io::Write for Count {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn invalid<T>(reason: impl Into<String>) -> Result<T, Error> {
    Err(Error::Invalid { reason: reason.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain_and_short() {
        for name in ["orders", "order.confirm", "A-b_9"] {
            check_name("queue", name).unwrap();
        }
        for name in ["", "a b", "a/b", "ä", &"x".repeat(65), "a\n", "a&b=c"] {
            assert!(check_name("queue", name).is_err(), "{name}");
        }
    }

    #[test]
    fn a_record_of_more_than_a_mebibyte_is_refused() {
        check_size("the record", &"x".repeat(DOCUMENT_LIMIT - 2)).unwrap();
        assert!(check_size("the record", &"x".repeat(DOCUMENT_LIMIT - 1)).is_err());
    }

    #[test]
    fn what_is_nested_deeper_than_it_can_be_read_is_refused_by_the_name_of_its_member() {
        let nested = |levels: usize| (0..levels).fold(Value::Null, |inner, _| Value::Array(vec![inner]));
        let object = |levels| Map::from_iter([("a".to_owned(), nested(0)), ("b".to_owned(), nested(levels))]);
        check_object("the record", &object(NESTING_LIMIT - 1)).unwrap();
        let refused = check_object("the record", &object(NESTING_LIMIT)).unwrap_err().to_string();
        assert_eq!(refused, "the record is nested deeper than 100 levels in `b`");
        check_document("the result", &nested(NESTING_LIMIT)).unwrap();
        assert!(check_document("the result", &nested(NESTING_LIMIT + 1)).is_err());
    }
}
