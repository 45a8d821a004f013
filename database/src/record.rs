//! A record and the questions that can be asked about records.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

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
}

/// The most records one page may ask for.
pub const PAGE_LIMIT: u32 = 1000;

/// Some records in order.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Page {
    /// The records.
    pub records: Vec<Record>,
    /// Where the next page starts, when there is more; pass it as `after`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}
