//! What a batch of transactions does to the records it is about, decided in memory.
//!
//! The batch holds the counter's lock and has read every record it names, so nothing it decides on can
//! change meanwhile. One caller's refusal is undone by itself, as a savepoint would, and leaves no gap in the
//! sequence.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::document::Document;
use crate::change::ChangeKind;
use crate::{
    Committed, Error, Job, Operation, Outcome, Precondition, Record, Transaction, limits, merge_patch, time,
};

/// Which record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Key<'a> {
    pub(super) namespace: &'a str,
    pub(super) collection: &'a str,
    pub(super) id: &'a str,
}

/// A record that exists.
#[derive(Debug, Clone)]
pub(super) struct Present {
    pub(super) version: u64,
    pub(super) created_at: Timestamp,
    /// `None` as long as nobody needs it.
    pub(super) document: Option<Arc<Document>>,
}

/// A record as the batch found it and as it leaves it.
#[derive(Debug, Clone, Default)]
pub(super) struct Row {
    pub(super) was_there: bool,
    pub(super) is_written: bool,
    pub(super) present: Option<Present>,
}

/// A change that the batch appends.
#[derive(Debug)]
pub(super) struct Appended<'a> {
    pub(super) sequence: u64,
    pub(super) key: Key<'a>,
    pub(super) kind: ChangeKind,
}

/// What an operation writes of a record: `None` when it removes it.
#[derive(Debug)]
pub(super) struct Step<'a> {
    /// The operation's place in its transaction.
    pub(super) operation: usize,
    pub(super) key: Key<'a>,
    pub(super) present: Option<Present>,
}

/// An answer that is kept under a key, and until when if it is new.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    pub(super) fingerprint: String,
    pub(super) committed: Committed,
    pub(super) expires_at: Option<Timestamp>,
}

/// The answers kept in a namespace, by their keys.
pub(super) type Answers<'a> = HashMap<(&'a str, &'a str), Kept>;

/// How many earlier versions the collections of a namespace keep, where they keep any.
pub(super) type Histories<'a> = HashMap<(&'a str, &'a str), u32>;

/// What becomes of earlier versions of a record, in order.
#[derive(Debug)]
pub(super) enum Past<'a> {
    /// The one that the batch found is kept, and of all at most so many.
    Found(Key<'a>, u32),
    /// One that the batch itself wrote is kept, likewise.
    Made(Key<'a>, Present, u32),
    /// All of them go with the record to another collection.
    Moved(Key<'a>, &'a str),
    /// All of them go.
    Removed(Key<'a>),
    /// Those of a collection whose time is over go, some of them.
    Over(&'a str, &'a str),
}

/// A version that is written anew and otherwise stays what it is.
#[derive(Debug)]
pub(super) struct Rewrite<'a> {
    pub(super) key: Key<'a>,
    pub(super) version: u64,
    pub(super) document: Arc<Document>,
}

/// The state of a batch under way.
#[derive(Debug)]
pub(super) struct Draft<'a> {
    pub(super) now: Timestamp,
    /// The last sequence that was given out.
    pub(super) sequence: u64,
    pub(super) rows: HashMap<Key<'a>, Row>,
    pub(super) changes: Vec<Appended<'a>>,
    pub(super) jobs: Vec<Job>,
    /// What is written of records, in order.
    pub(super) steps: Vec<Step<'a>>,
    pub(super) answers: Answers<'a>,
    pub(super) histories: Histories<'a>,
    pub(super) past: Vec<Past<'a>>,
    /// Versions that were there before, written anew.
    pub(super) rewrites: Vec<Rewrite<'a>>,
    /// What the present caller's rows were before it.
    undo: Vec<(Key<'a>, Row)>,
}

impl<'a> Draft<'a> {
    /// Begins with the records that were found.
    pub(super) fn new(
        now: Timestamp,
        sequence: u64,
        found: HashMap<Key<'a>, Present>,
        answers: Answers<'a>,
        histories: Histories<'a>,
    ) -> Self {
        let there = |present| Row { was_there: true, is_written: false, present: Some(present) };
        let rows = found.into_iter().map(|(key, present)| (key, there(present))).collect();
        let (changes, jobs, steps, past, rewrites, undo) = Default::default();
        Self { now, sequence, rows, changes, jobs, steps, answers, histories, past, rewrites, undo }
    }

    /// Does one caller's operations, or none of them.
    pub(super) fn perform(&mut self, transaction: &'a Transaction) -> Result<Committed, Error> {
        let (sequence, changes, jobs) = (self.sequence, self.changes.len(), self.jobs.len());
        let (steps, past, rewrites) = (self.steps.len(), self.past.len(), self.rewrites.len());
        self.undo.clear();
        let result = self.perform_once(transaction);
        if result.is_err() {
            self.sequence = sequence;
            self.changes.truncate(changes);
            self.jobs.truncate(jobs);
            self.steps.truncate(steps);
            self.past.truncate(past);
            self.rewrites.truncate(rewrites);
            for (key, row) in self.undo.drain(..).rev() {
                self.rows.insert(key, row);
            }
        }
        result
    }

    /// Does a transaction unless its key says that it was done.
    fn perform_once(&mut self, transaction: &'a Transaction) -> Result<Committed, Error> {
        let Some(Operation::Once { key, fingerprint, keep_ms }) = transaction.operations.first() else {
            return self.perform_all(transaction);
        };
        let key = (transaction.namespace.as_str(), key.as_str());
        if let Some(kept) = self.answers.get(&key) {
            return match kept.fingerprint == *fingerprint {
                true => Ok(kept.committed.clone().into_repeated()),
                false => Err(Error::KeyReused),
            };
        }
        let committed = self.perform_all(transaction)?;
        let expires_at = Some(time::later(self.now, Duration::from_millis(*keep_ms)));
        let kept = Kept { fingerprint: fingerprint.clone(), committed: committed.clone(), expires_at };
        self.answers.insert(key, kept);
        Ok(committed)
    }

    fn perform_all(&mut self, transaction: &'a Transaction) -> Result<Committed, Error> {
        let mut sequence = 0;
        let mut outcomes = Vec::with_capacity(transaction.operations.len());
        for (operation, wanted) in transaction.operations.iter().enumerate() {
            let place = |collection, id| Key { namespace: &transaction.namespace, collection, id };
            let outcome = match wanted {
                Operation::Put { collection, id, data, precondition } => {
                    let key = place(collection, id);
                    self.find(key, *precondition, operation)?;
                    self.write(operation, key, data.clone())?
                }
                Operation::Patch { collection, id, patch, precondition } => {
                    let key = place(collection, id);
                    let present = self.find(key, *precondition, operation)?.ok_or_else(|| no_record(key))?;
                    let mut data = match &present.document {
                        Some(document) => document.parse().map_err(|_| unreadable(key))?,
                        None => return Err(Error::Storage { reason: "a record was not read".into() }),
                    };
                    merge_patch::apply(&mut data, patch);
                    limits::check_object("the patched record", &data)?;
                    self.write(operation, key, data)?
                }
                Operation::Delete { collection, id, precondition } => {
                    let key = place(collection, id);
                    self.find(key, *precondition, operation)?.ok_or_else(|| no_record(key))?;
                    self.past.push(Past::Removed(key));
                    let version = self.append(key, ChangeKind::Delete);
                    self.set(operation, key, None);
                    Outcome::Deleted { version }
                }
                Operation::Move { collection, id, to, precondition, target } => {
                    let from = place(collection, id);
                    self.find(from, *precondition, operation)?.ok_or_else(|| no_record(from))?;
                    self.find(place(to, id), *target, operation)?;
                    self.relocate(operation, from, to)?
                }
                Operation::Rewrite { collection, id, version, data } => {
                    self.rewrite(place(collection, id), *version, data)?
                }
                Operation::Require { collection, id, precondition } => {
                    self.find(place(collection, id), *precondition, operation)?;
                    Outcome::Held
                }
                Operation::Trim { collection } => {
                    self.past.push(Past::Over(&transaction.namespace, collection));
                    Outcome::Trimmed
                }
                Operation::Once { .. } => Outcome::First,
                Operation::Enqueue { job } => {
                    let job = job.clone().into_job(&transaction.namespace, self.now);
                    self.jobs.push(job.clone());
                    Outcome::Enqueued { job }
                }
            };
            sequence = outcome.sequence().unwrap_or(sequence);
            outcomes.push(outcome);
        }
        Ok(Committed { sequence, at: self.now, outcomes })
    }

    /// Finds an operation's record and checks its precondition.
    fn find(
        &self,
        key: Key<'a>,
        precondition: Precondition,
        operation: usize,
    ) -> Result<Option<&Present>, Error> {
        let present = self.rows.get(&key).and_then(|row| row.present.as_ref());
        let current = present.map(|present| present.version);
        match precondition.holds(current) {
            true => Ok(present),
            false => Err(Error::PreconditionFailed { operation, current }),
        }
    }

    fn write(&mut self, operation: usize, key: Key<'a>, data: Map<String, Value>) -> Result<Outcome, Error> {
        let document = Arc::new(Document::of(&data)?);
        let before = self.rows.get(&key).and_then(|row| row.present.as_ref());
        let created_at = before.map(|present| present.created_at);
        let created = created_at.is_none();
        self.keep(key);
        let version = self.append(key, if created { ChangeKind::Create } else { ChangeKind::Update });
        let created_at = created_at.unwrap_or(self.now);
        self.set(operation, key, Some(Present { version, created_at, document: Some(document) }));
        let (collection, id) = (key.collection.to_owned(), key.id.to_owned());
        let record =
            Record { collection, id, version, created_at, updated_at: self.now, data, unreadable: false };
        Ok(Outcome::Written { record, created })
    }

    /// Writes a version anew. The batch does so before all else: what it names was there before the batch, and what others of
    /// the batch then keep or patch of it is anew already.
    fn rewrite(&mut self, key: Key<'a>, version: u64, data: &Map<String, Value>) -> Result<Outcome, Error> {
        let document = Arc::new(Document::of(data)?);
        if let Some(row) = self.rows.get_mut(&key)
            && let Row { is_written: false, present: Some(present), .. } = row
            && present.version == version
        {
            let before = present.document.replace(Arc::clone(&document));
            let present = Some(Present { document: before, ..present.clone() });
            self.undo.push((key, Row { present, ..row.clone() }));
        }
        self.rewrites.push(Rewrite { key, version, document });
        Ok(Outcome::Rewritten)
    }

    /// Moves a record to another collection, in place of one that is there.
    fn relocate(&mut self, operation: usize, from: Key<'a>, to: &'a str) -> Result<Outcome, Error> {
        let present =
            self.rows.get(&from).and_then(|row| row.present.clone()).ok_or_else(|| no_record(from))?;
        let Some(document) = present.document else {
            return Err(Error::Storage { reason: "a record was not read".into() });
        };
        let target = Key { collection: to, ..from };
        let created = self.rows.get(&target).is_none_or(|row| row.present.is_none());
        self.keep(from);
        if !created {
            self.past.push(Past::Removed(target));
        }
        self.past.push(Past::Moved(from, to));
        self.append(from, ChangeKind::Delete);
        self.set(operation, from, None);
        let version = self.append(target, if created { ChangeKind::Create } else { ChangeKind::Update });
        let created_at = present.created_at;
        let (collection, id) = (to.to_owned(), from.id.to_owned());
        let (data, unreadable) = (Map::new(), false);
        let record = Record { collection, id, version, created_at, updated_at: self.now, data, unreadable };
        let record = record.with_stored(document.text());
        // What cannot be read is moved as the one text it was read as.
        let document = match record.unreadable {
            true => document,
            false => Arc::new(Document::of(&record.data)?),
        };
        self.set(operation, target, Some(Present { version, created_at, document: Some(document) }));
        Ok(Outcome::Written { record, created })
    }

    /// Keeps the present version of a record that is about to be written, if its collection has a history.
    fn keep(&mut self, key: Key<'a>) {
        let Some(most) = self.histories.get(&(key.namespace, key.collection)).copied() else { return };
        let Some(Row { present: Some(present), is_written, .. }) = self.rows.get(&key) else { return };
        self.past.push(match is_written {
            true => Past::Made(key, present.clone(), most),
            false => Past::Found(key, most),
        });
    }

    fn append(&mut self, key: Key<'a>, kind: ChangeKind) -> u64 {
        self.sequence += 1;
        self.changes.push(Appended { sequence: self.sequence, key, kind });
        self.sequence
    }

    fn set(&mut self, operation: usize, key: Key<'a>, present: Option<Present>) {
        let row = self.rows.entry(key).or_default();
        self.undo.push((key, row.clone()));
        row.is_written = true;
        row.present = present.clone();
        self.steps.push(Step { operation, key, present });
    }
}

fn unreadable(key: Key<'_>) -> Error {
    Error::unreadable_record(key.collection, key.id)
}

fn no_record(key: Key<'_>) -> Error {
    Error::no_record(key.collection, key.id)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn put(id: &str, n: u32, precondition: Precondition) -> Operation {
        let data = Map::from_iter([("n".to_owned(), json!(n))]);
        Operation::Put { collection: "things".into(), id: id.into(), data, precondition }
    }

    fn delete(id: &str) -> Operation {
        let (collection, id) = ("things".to_owned(), id.to_owned());
        Operation::Delete { collection, id, precondition: Precondition::None }
    }

    fn of(operations: Vec<Operation>) -> Transaction {
        Transaction { namespace: "shop".into(), operations }
    }

    #[test]
    fn a_refused_caller_leaves_no_trace_among_the_others() {
        let work = [
            of(vec![put("a", 1, Precondition::Absent), put("b", 1, Precondition::None)]),
            of(vec![put("a", 2, Precondition::None), delete("b"), put("c", 2, Precondition::Present)]),
            of(vec![put("b", 3, Precondition::Version(7)), delete("a")]),
        ];
        let mut draft = Draft::new(Timestamp::UNIX_EPOCH, 5, HashMap::new(), HashMap::new(), HashMap::new());
        let results: Vec<_> = work.iter().map(|one| draft.perform(one)).collect();
        assert_eq!(results[0].as_ref().unwrap().sequence, 7);
        assert_eq!(results[1], Err(Error::PreconditionFailed { operation: 2, current: None }));
        assert_eq!(results[2].as_ref().unwrap().sequence, 9);
        let sequences: Vec<u64> = draft.changes.iter().map(|change| change.sequence).collect();
        assert_eq!(sequences, [6, 7, 8, 9], "without a gap");
        let row = |id| &draft.rows[&Key { namespace: "shop", collection: "things", id }];
        assert!(row("a").present.is_none() && row("a").is_written);
        let document = row("b").present.as_ref().unwrap().document.clone().unwrap();
        assert_eq!(document.data, r#"{"n":3}"#);
        assert_eq!(draft.steps.iter().map(|step| step.operation).collect::<Vec<_>>(), [0, 1, 0, 1]);
    }
}
