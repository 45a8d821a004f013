//! A record and the questions that can be asked about records.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::Committed;
use crate::find::{Find, Position, Total};

/// One JSON object of a collection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The collection within the namespace.
    pub collection: String,
    /// Its name in the collection; unique there.
    pub id: String,
    /// The sequence of the change that wrote it: grows with every write and is never used twice, also
    /// not after a record was deleted and made again.
    pub version: u64,
    /// When it was first written.
    pub created_at: Timestamp,
    /// When it was last written.
    pub updated_at: Timestamp,
    /// Its fields, without the ones above.
    pub data: Map<String, Value>,
    /// Whether what is stored cannot be read, and `data` is empty instead. No such record can be written; one from before
    /// nesting was bounded is still named, removed and moved, and keeps nobody from the others.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unreadable: bool,
}

impl Record {
    /// Takes a document as it is stored; one that cannot be read is logged by its name.
    pub(crate) fn with_stored(self, text: &str) -> Self {
        match serde_json::from_str(text) {
            Ok(data) => Self { data, unreadable: false, ..self },
            Err(error) => {
                let (collection, id) = (&self.collection, &self.id);
                tracing::error!(collection, id, %error, "a stored record cannot be read; delete it, or restore an older one");
                Self { data: Map::new(), unreadable: true, ..self }
            }
        }
    }
}

/// A question about the records of one namespace.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "query", rename_all = "snake_case")]
pub enum Query {
    /// One record by its name; answered with a page of one or none.
    Get {
        /// The collection.
        collection: String,
        /// The record's name.
        id: String,
    },
    /// Records in the order of their names.
    List {
        /// The collection.
        collection: String,
        /// The name after which the page starts; from the first without one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<String>,
        /// The most records of the page; at most [`PAGE_LIMIT`].
        limit: u32,
    },
    /// Records by what they hold, in an order.
    Find(Find),
    /// Those of these records that exist, in the order asked for; a page that would be too large ends early, and
    /// its `next` is the first that was not looked for.
    Some {
        /// The collection.
        collection: String,
        /// The records' names; at most [`PAGE_LIMIT`].
        ids: Vec<String>,
    },
    /// The earlier versions of a record, the latest first; answered with `earlier`.
    History {
        /// The collection.
        collection: String,
        /// The record's name.
        id: String,
        /// Only versions before this one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        before: Option<u64>,
        /// The most versions of the page; at most [`PAGE_LIMIT`].
        limit: u32,
    },
    /// The sequence of the namespace's latest change.
    Latest,
    /// What a transaction that is to happen once was answered, if it did happen.
    Answer {
        /// The key of its [`crate::Operation::Once`].
        key: String,
    },
}

impl Query {
    /// Tells whether a replica can answer it: what callers go on from, the latest change and kept answers, is always
    /// asked of the primary.
    pub(crate) fn bears_staleness(&self) -> bool {
        match self {
            Self::Get { .. }
            | Self::List { .. }
            | Self::Find(_)
            | Self::Some { .. }
            | Self::History { .. } => true,
            Self::Latest | Self::Answer { .. } => false,
        }
    }
}

/// The most records one page may ask for.
pub const PAGE_LIMIT: u32 = 1000;

/// Some records in order.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Page {
    /// The records.
    pub records: Vec<Record>,
    /// Earlier versions of a record.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier: Vec<Earlier>,
    /// Whether there are more of them; the next page is those before the last of this one.
    #[serde(default)]
    pub has_earlier: bool,
    /// Where the next page of a list starts, when there is more; pass it as `after`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// Where the next page of a [`Find`] starts, when there may be more; pass it as `after`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<Position>,
    /// How many records match in all, when a [`Find`] asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<Total>,
    /// The sequence of the latest change, when that was asked; none without any change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
    /// What a transaction was answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<Answer>,
    /// When a replica answered: how far back it may be, in milliseconds. All that was answered longer ago is in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age_ms: Option<u64>,
}

impl Page {
    /// Tells how far back the answer may be; nothing when it is from what is durable now.
    pub fn age(&self) -> Option<Duration> {
        self.age_ms.map(Duration::from_millis)
    }
}

/// A version of a record that another took the place of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Earlier {
    /// The record as it was.
    pub record: Record,
    /// Until when it was that.
    pub until: Timestamp,
}

/// What a transaction that is to happen once was answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// What tells the request it was from another.
    pub fingerprint: String,
    /// What was done; its first outcome is [`crate::Outcome::Repeated`].
    pub committed: Committed,
}
