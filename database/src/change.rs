//! The change log: what was written, in the order it became durable.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// One change of one record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Its place in the log; grows, with gaps allowed, and is also the record's version.
    pub sequence: u64,
    /// The namespace.
    pub namespace: String,
    /// The collection.
    pub collection: String,
    /// The record's name.
    pub id: String,
    /// What happened.
    pub kind: ChangeKind,
    /// When.
    pub at: Timestamp,
}

/// What happened to a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    /// It was made.
    Create,
    /// It was changed.
    Update,
    /// It was removed.
    Delete,
}

impl ChangeKind {
    /// Gives the word for it, in rows and in answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Delete => "delete",
        }
    }

    /// Reads the stored word; `None` if it is none.
    pub(crate) fn from_stored(word: &str) -> Option<Self> {
        [Self::Create, Self::Update, Self::Delete].into_iter().find(|kind| kind.as_str() == word)
    }
}
