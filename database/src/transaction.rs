//! A transaction: a list of operations that happen together or not at all.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{Job, NewJob, Record};

/// Operations on one namespace, in order, all or nothing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Transaction {
    /// The namespace whose records it writes; its jobs belong to it too.
    pub namespace: String,
    /// What to do; at most [`OPERATION_LIMIT`].
    pub operations: Vec<Operation>,
}

impl Transaction {
    /// Adds to what was committed what the transaction itself says of the records it put, their names and their data,
    /// unless it was committed earlier and these are the outcomes of then.
    pub(crate) fn complete(self, committed: &mut Committed) {
        if matches!(committed.outcomes.first(), Some(Outcome::Repeated)) {
            return;
        }
        for (operation, outcome) in self.operations.into_iter().zip(&mut committed.outcomes) {
            if let (Operation::Put { collection, id, data, .. }, Outcome::Written { record, .. }) =
                (operation, outcome)
            {
                (record.collection, record.id, record.data) = (collection, id, data);
            }
        }
    }
}

/// The most operations of one transaction: those of a service's batch of 100 changes, each with what it requires, its
/// write and 8 jobs, under a key.
pub const OPERATION_LIMIT: usize = 1001;

/// How many earlier versions one [`Operation::Trim`] removes at most.
pub const TRIM_LIMIT: u32 = 500;

/// The longest that a key of [`Operation::Once`] stands: a week.
pub const KEEP_LIMIT_MS: u64 = 7 * 86_400_000;

/// One operation of a transaction.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum Operation {
    /// Writes a whole record.
    Put {
        /// The collection.
        collection: String,
        /// The record's name.
        id: String,
        /// Its fields.
        data: Map<String, Value>,
        /// What must hold for the transaction to happen.
        #[serde(default)]
        precondition: Precondition,
    },
    /// Changes a record by a JSON merge patch (RFC 7396); the record must exist.
    Patch {
        /// The collection.
        collection: String,
        /// The record's name.
        id: String,
        /// The merge patch.
        patch: Map<String, Value>,
        /// What must hold for the transaction to happen.
        #[serde(default)]
        precondition: Precondition,
    },
    /// Removes a record; the record must exist.
    Delete {
        /// The collection.
        collection: String,
        /// The record's name.
        id: String,
        /// What must hold for the transaction to happen.
        #[serde(default)]
        precondition: Precondition,
    },
    /// Moves a record to another collection under the same name, with when it was made and its earlier versions, and in
    /// place of one that is there. To followers it is a deletion here and a creation or an update there.
    Move {
        /// The collection.
        collection: String,
        /// The record's name.
        id: String,
        /// The collection it moves to.
        to: String,
        /// What must hold for the transaction to happen.
        #[serde(default)]
        precondition: Precondition,
        /// Likewise of the record's place there.
        #[serde(default)]
        target: Precondition,
    },
    /// Writes what is in a version of a record anew, the present one or an earlier one, where what it says stays the same:
    /// no change is logged, no version made, no time moved. Where there is no such version, nothing is done.
    Rewrite {
        /// The collection.
        collection: String,
        /// The record's name.
        id: String,
        /// The version.
        version: u64,
        /// Its fields.
        data: Map<String, Value>,
    },
    /// Does nothing with a record, but has the transaction happen only if something holds for it.
    Require {
        /// The collection.
        collection: String,
        /// The record's name.
        id: String,
        /// What must hold for the transaction to happen.
        precondition: Precondition,
    },
    /// Removes earlier versions of a collection's records whose time is over, at most [`TRIM_LIMIT`].
    Trim {
        /// The collection.
        collection: String,
    },
    /// Has the transaction happen once; only as its first operation. While the key stands, the same transaction
    /// again does nothing and is answered with what was done then.
    Once {
        /// The key, within the namespace.
        key: String,
        /// What tells the same request from another; a key that stands for another is [`crate::Error::KeyReused`].
        fingerprint: String,
        /// How long the key stands; at most [`KEEP_LIMIT_MS`].
        keep_ms: u64,
    },
    /// Puts a job into a queue.
    Enqueue {
        /// The job.
        job: NewJob,
    },
}

impl Operation {
    /// Gives the name it is counted under.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Put { .. } => "put",
            Self::Patch { .. } => "patch",
            Self::Delete { .. } => "delete",
            Self::Move { .. } => "move",
            Self::Rewrite { .. } => "rewrite",
            Self::Require { .. } => "require",
            Self::Trim { .. } => "trim",
            Self::Once { .. } => "once",
            Self::Enqueue { .. } => "enqueue",
        }
    }
}

/// What must hold for an operation's record.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precondition {
    /// Nothing.
    #[default]
    None,
    /// It does not exist (`If-None-Match: *`).
    Absent,
    /// It exists (`If-Match: *`).
    Present,
    /// It exists with just this version (`If-Match: "7"`).
    Version(u64),
}

impl Precondition {
    /// Tells whether it holds for a record of this version, or for one that does not exist.
    pub(crate) fn holds(self, current: Option<u64>) -> bool {
        match self {
            Self::None => true,
            Self::Absent => current.is_none(),
            Self::Present => current.is_some(),
            Self::Version(version) => current == Some(version),
        }
    }
}

/// What one operation did.
#[allow(clippy::large_enum_variant, reason = "most outcomes are the large one")]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// The record as it is now.
    Written {
        /// The record.
        record: Record,
        /// Whether it did not exist before.
        created: bool,
    },
    /// The record is gone.
    Deleted {
        /// The sequence of the change that removed it.
        version: u64,
    },
    /// The version is as it was to be, if it is there.
    Rewritten,
    /// What it requires held.
    Held,
    /// What was over is gone, or some of it.
    Trimmed,
    /// The key was new, and the rest was done now.
    First,
    /// The key stood already: nothing was done, and the other outcomes are those of then.
    Repeated,
    /// The job waits in its queue.
    Enqueued {
        /// The job.
        job: Job,
    },
}

impl Outcome {
    /// Gives the sequence of the change that the operation made; `None` if it changed no record.
    pub fn sequence(&self) -> Option<u64> {
        match self {
            Self::Written { record, .. } => Some(record.version),
            Self::Deleted { version } => Some(*version),
            Self::Rewritten
            | Self::Held
            | Self::Trimmed
            | Self::First
            | Self::Repeated
            | Self::Enqueued { .. } => None,
        }
    }
}

/// A transaction that is durable.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Committed {
    /// The sequence of its last change; 0 when it changed no record.
    pub sequence: u64,
    /// When it was committed.
    pub at: Timestamp,
    /// What each operation did, in order.
    pub outcomes: Vec<Outcome>,
}

impl Committed {
    /// Gives the answer as to a repeated transaction, which begins with its key.
    pub(crate) fn into_repeated(mut self) -> Self {
        if let Some(first) = self.outcomes.first_mut() {
            *first = Outcome::Repeated;
        }
        self
    }
}
