//! Backup and recovery of a SQLite database.
//!
//! **Continuously**, with a destination configured: the writer hands each commit's pages to a [`feed`], the shipping
//! thread ([`ship`]) makes segments of them ([`segment`]) and stores them in a folder or a bucket
//! ([`super::destination`]), each naming the digest of the one before. Together with a base ([`snapshot`]) such a chain
//! is a generation; a process goes on with the one its log proves to be its own ([`chain`]) and begins another
//! otherwise. Which files make the database of a moment is decided from their names ([`plan`]) and carried out by
//! [`gather`].
//!
//! Beside it the [`keeper`] stores new bases, merges small segments ([`mod@merge`]), removes what no kept moment needs
//! ([`retention`]) and tries restores out ([`mod@drill`]). [`Recovery`] is what is done from outside, with no database
//! running: list, verify ([`inspect`]), restore.
//!
//! **On command**: a whole copy in one file ([`copy`]), with its digest beside it.
//!
//! [`mod@compact`] writes a database's file anew, without what is free in it.
//!
//! Either way a restore moves versions and fencing tokens past all that were given out ([`mod@restore`]).

mod board;
mod chain;
mod check;
mod compact;
mod copy;
mod difference;
mod digest;
mod drill;
mod feed;
mod gather;
mod head;
mod inspect;
mod keeper;
mod lacking;
mod lineage;
mod merge;
mod object;
pub(crate) mod opening;
mod plan;
mod recovery;
mod restore;
mod retention;
mod segment;
mod ship;
mod shipping;
mod snapshot;
mod wal;

pub use self::board::ShippingStatus;
pub use self::compact::{Compacted, compact};
pub use self::copy::{Report, backup, verify};
pub(crate) use self::copy::{Request, of_engine};
pub(crate) use self::feed::Safety;
pub use self::gather::{Note, Reached};
pub(super) use self::head::{read_line, write_line};
pub use self::inspect::Inspection;
pub(super) use self::object::{Fault, hex};
pub use self::plan::{Following, PlanError, Target};
pub use self::recovery::{GenerationSummary, Recovery, RestoredState};
pub use self::restore::restore;
pub(crate) use self::shipping::{Shipping, ShippingParts};
pub(super) use self::wal::LogError;
pub(crate) use self::wal::path_of as log_path;
