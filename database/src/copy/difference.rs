//! What differs between two streams of items that are in the same order: named, and never shown.

use std::cmp::Ordering;

use super::Item;
use crate::{Earlier, Error};

/// How many are named.
const NAMED: usize = 10;

/// The first few items that are not the same at both ends.
#[derive(Debug, Default)]
pub(crate) struct Differences {
    named: Vec<String>,
}

/// Whose next item was dealt with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    /// Both ends': they are of the same thing.
    Both,
    /// What was sent.
    Sent,
    /// What is there.
    There,
}

impl Differences {
    /// Compares the next item that was sent with the next that is there; `None` once all are done.
    pub(crate) fn compare(
        &mut self,
        sent: Option<&Item>,
        there: Option<&Item>,
    ) -> Result<Option<Taken>, Error> {
        let (item, how, taken) = match (sent, there) {
            (None, None) => return Ok(None),
            (Some(sent), Some(there)) => match key(sent).cmp(&key(there)) {
                Ordering::Equal if written(sent)? == written(there)? => return Ok(Some(Taken::Both)),
                Ordering::Equal => (sent, "differs", Taken::Both),
                Ordering::Less => (sent, "is missing", Taken::Sent),
                Ordering::Greater => (there, "is too much", Taken::There),
            },
            (Some(sent), None) => (sent, "is missing", Taken::Sent),
            (None, Some(there)) => (there, "is too much", Taken::There),
        };
        if !self.is_full() {
            self.named.push(format!("{} {how}", name(item)));
        }
        Ok(Some(taken))
    }

    /// Tells whether enough are named.
    pub(crate) fn is_full(&self) -> bool {
        self.named.len() >= NAMED
    }

    /// Names them.
    pub(crate) fn describe(self) -> String {
        match (self.named.is_empty(), self.is_full()) {
            (true, _) => "the last sequence differs, or the order".to_owned(),
            (false, false) => self.named.join("; "),
            (false, true) => format!("{}; there may be more", self.named.join("; ")),
        }
    }
}

/// Gives what both ends order items by.
fn key(item: &Item) -> (u8, &str, &str, &str, u64) {
    match item {
        Item::Record { namespace, record } => (0, namespace, &record.collection, &record.id, 0),
        Item::Earlier { namespace, version: Earlier { record, .. } } => {
            (1, namespace, &record.collection, &record.id, record.version)
        }
        Item::Change(change) => (2, "", "", "", change.sequence),
        Item::Job(job) => (3, "", "", &job.id, 0),
        Item::Answer { namespace, key, .. } => (4, namespace, key, "", 0),
    }
}

/// Gives what the digest is of: equal numbers may be written differently.
fn written(item: &Item) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(item).map_err(|error| Error::Storage { reason: error.to_string() })
}

fn name(item: &Item) -> String {
    match item {
        Item::Record { namespace, record } => {
            format!("record {:?} in {} of {namespace}", record.id, record.collection)
        }
        Item::Earlier { namespace, version: Earlier { record, .. } } => {
            let (id, version, collection) = (&record.id, record.version, &record.collection);
            format!("version {version} of record {id:?} in {collection} of {namespace}")
        }
        Item::Change(change) => format!("change {}", change.sequence),
        Item::Job(job) => format!("job {}", job.id),
        // Its key is a caller's.
        Item::Answer { namespace, .. } => format!("a kept answer of {namespace}"),
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use serde_json::{Map, Value, json};

    use super::*;
    use crate::Record;

    fn record(id: &str, value: Value) -> Item {
        let record = Record {
            collection: "things".into(),
            id: id.into(),
            version: 1,
            created_at: Timestamp::UNIX_EPOCH,
            updated_at: Timestamp::UNIX_EPOCH,
            data: Map::from_iter([("secret".to_owned(), value)]),
            unreadable: false,
        };
        Item::Record { namespace: "shop".into(), record }
    }

    fn compare(sent: &[Item], there: &[Item]) -> String {
        let (mut sent, mut there, mut differences) =
            (sent.iter().peekable(), there.iter().peekable(), Differences::default());
        while let Some(taken) = differences.compare(sent.peek().copied(), there.peek().copied()).unwrap() {
            if taken != Taken::There {
                sent.next();
            }
            if taken != Taken::Sent {
                there.next();
            }
        }
        differences.describe()
    }

    #[test]
    fn what_differs_is_missing_or_too_much_is_named_without_its_content() {
        let sent = [record("a", json!("x")), record("b", json!(-0.0)), record("c", json!("hush"))];
        let there = [record("b", json!(0.0)), record("bb", json!("hush")), record("c", json!("hush"))];
        let said = compare(&sent, &there);
        let wanted = "record \"a\" in things of shop is missing; record \"b\" in things of shop differs; record \"bb\" in \
                      things of shop is too much";
        assert_eq!(said, wanted);
        assert!(compare(&sent, &sent).contains("the last sequence"));
        assert!(compare(&sent, &[]).contains("record \"c\" in things of shop is missing"));
        assert!(compare(&[], &sent).contains("record \"c\" in things of shop is too much"));
    }

    #[test]
    fn a_few_are_named_however_many_there_are() {
        let many: Vec<Item> = (0..1000).map(|number| record(&format!("{number:04}"), json!(1))).collect();
        let said = compare(&many, &[]);
        assert_eq!(said.matches("is missing").count(), NAMED);
        assert!(said.ends_with("there may be more"), "{said}");
    }
}
