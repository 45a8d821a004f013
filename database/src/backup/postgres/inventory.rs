//! What lies at a destination: generations, each with bases and the log received since; read from the folder
//! ([`super::layout`]), so that everything that is decided about it is decided from memory.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::lsn::{Lsn, SegmentName};
use super::received::Received;

/// Whose log it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Origin {
    /// What PostgreSQL calls the cluster; a restored or promoted one has the same.
    pub(super) system: String,
    /// The server's major version, by which tools are chosen.
    pub(super) major: u32,
    /// How long a segment is.
    pub(super) segment_bytes: u64,
}

/// A base that was finished.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Base {
    /// Its folder's name.
    pub(super) name: String,
    /// The timeline it was taken on.
    pub(super) timeline: u32,
    /// Where in the log a restore of it begins.
    pub(super) start: Lsn,
    /// Before which place a restore of it cannot stop.
    pub(super) end: Lsn,
    /// When it was begun, by the server's clock.
    pub(super) began: Timestamp,
    /// When it was finished, by the server's clock: before that a restore of it cannot stop.
    pub(super) ended: Timestamp,
    /// No transaction with this number or a greater one had begun when it was finished.
    pub(super) next_xid: u64,
    /// How much it is.
    pub(super) size_bytes: u64,
}

/// A segment file and its length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) name: SegmentName,
    pub(super) size_bytes: u64,
}

/// One uninterrupted reception of a server's log, with its bases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Generation {
    /// Its name, which begins with the time it began.
    pub(super) name: String,
    pub(super) origin: Origin,
    /// Its bases, oldest first.
    pub(super) bases: Vec<Base>,
    /// Its segments, by timeline and number.
    pub(super) segments: Vec<Segment>,
    /// Up to where its log was received, if that is noted: by an older release it was not.
    pub(super) received: Option<Received>,
    /// What cannot be read, and why.
    pub(super) faults: Vec<(String, String)>,
}

/// A generation of which nothing can be told, since it cannot be read whose log it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unreadable {
    /// Its name, which begins with the time it began.
    pub(super) name: String,
    /// The file that cannot be read, as it lies at the destination.
    pub(super) file: String,
    /// Why.
    pub(super) reason: String,
    /// Whether that is the file's fault; if not, the destination did not give it, and may another time.
    pub(super) is_damaged: bool,
}

/// What is told of a generation without a base.
pub(super) const NO_BASE: &str = "it has no base, so nothing of it can be restored";

/// Everything at a destination, oldest generation first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Inventory {
    pub(super) generations: Vec<Generation>,
    /// Those that are there and cannot be read, oldest first.
    pub(super) unreadable: Vec<Unreadable>,
}
