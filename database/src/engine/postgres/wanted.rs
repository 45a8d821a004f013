//! What a batch of transactions is about, and what was found of it.

use std::collections::HashMap;
use std::sync::Arc;

use tokio_postgres::Row;

use super::document::Document;
use super::draft::{Answers, Histories, Kept, Key, Present};
use super::fault::Fault;
use crate::engine::numbers::number;
use crate::{Operation, Transaction, time};

/// The records and keys a batch names, each once.
#[derive(Debug, Default)]
pub(super) struct Wanted<'a> {
    pub(super) keys: Vec<Key<'a>>,
    /// Whether the document is needed too.
    pub(super) documents: Vec<bool>,
    /// The namespaces and names of their collections.
    collections: Vec<(&'a str, &'a str)>,
    /// Namespaces and keys of transactions that are to happen once.
    pub(super) answers: Vec<(&'a str, &'a str)>,
}

impl<'a> Wanted<'a> {
    pub(super) fn of(work: &'a [Transaction]) -> Self {
        let (mut keys, mut documents, mut places) = (Vec::new(), Vec::new(), HashMap::new());
        let mut answers = Vec::new();
        let mut add = |key: Key<'a>, is_read: bool| {
            let place = *places.entry(key).or_insert_with(|| {
                keys.push(key);
                documents.push(false);
                keys.len() - 1
            });
            documents[place] |= is_read;
        };
        for transaction in work {
            let namespace = transaction.namespace.as_str();
            for operation in &transaction.operations {
                match operation {
                    Operation::Put { collection, id, .. }
                    | Operation::Rewrite { collection, id, .. }
                    | Operation::Delete { collection, id, .. }
                    | Operation::Require { collection, id, .. } => {
                        add(Key { namespace, collection, id }, false);
                    }
                    Operation::Patch { collection, id, .. } => add(Key { namespace, collection, id }, true),
                    Operation::Move { collection, id, to, .. } => {
                        add(Key { namespace, collection, id }, true);
                        add(Key { namespace, collection: to, id }, false);
                    }
                    Operation::Once { key, .. } => answers.push((namespace, key.as_str())),
                    Operation::Trim { .. } | Operation::Enqueue { .. } => {}
                }
            }
        }
        answers.sort_unstable();
        answers.dedup();
        let mut collections: Vec<_> = keys.iter().map(|key| (key.namespace, key.collection)).collect();
        collections.sort_unstable();
        collections.dedup();
        Self { keys, documents, collections, answers }
    }

    pub(super) fn collection_columns(&self) -> [Vec<&'a str>; 2] {
        self.collections.iter().copied().collect::<(Vec<_>, Vec<_>)>().into()
    }

    /// Reads how many earlier versions the collections keep.
    pub(super) fn found_histories(&self, rows: &[Row]) -> Result<Histories<'a>, Fault> {
        let read = |row: &Row| {
            let most: i32 = row.try_get(1)?;
            Ok((*at_place(&self.collections, row)?, u32::try_from(most).unwrap_or(0)))
        };
        rows.iter().map(read).collect()
    }

    pub(super) fn answer_columns(&self) -> [Vec<&'a str>; 2] {
        self.answers.iter().copied().collect::<(Vec<_>, Vec<_>)>().into()
    }

    pub(super) fn found(&self, rows: &[Row]) -> Result<HashMap<Key<'a>, Present>, Fault> {
        let read = |row: &Row| {
            let key = *at_place(&self.keys, row)?;
            let document: Option<String> = row.try_get(3)?;
            let document = document.map(|text| Arc::new(Document::read(text)));
            let created_at = time::from_stored(row.try_get(2)?);
            Ok((key, Present { version: number(row.try_get(1)?), created_at, document }))
        };
        rows.iter().map(read).collect()
    }

    pub(super) fn found_answers(&self, rows: &[Row]) -> Result<Answers<'a>, Fault> {
        let read = |row: &Row| {
            let key = *at_place(&self.answers, row)?;
            let committed = serde_json::from_str(row.try_get(2)?)
                .map_err(|_| Fault::Inconsistent("a kept answer cannot be read"))?;
            Ok((key, Kept { fingerprint: row.try_get(1)?, committed, expires_at: None }))
        };
        rows.iter().map(read).collect()
    }
}

/// Finds what a row is about by its first column, a place counted from 1.
fn at_place<'a, T>(asked: &'a [T], row: &Row) -> Result<&'a T, Fault> {
    let place = usize::try_from(row.try_get::<_, i64>(0)?).unwrap_or(0);
    let found = place.checked_sub(1).and_then(|place| asked.get(place));
    found.ok_or(Fault::Inconsistent("a row nobody asked for"))
}
