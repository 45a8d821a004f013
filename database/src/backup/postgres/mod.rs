//! Backup and recovery of a PostgreSQL server, by its own tools.
//!
//! pg_receivewal streams the server's log to the destination, by a slot of ours ([`receive`], [`stall`]), and goes on with what lies there
//! ([`resume`]) if the server's log does ([`descent`]); pg_basebackup makes the
//! bases ([`base`]); both are children of ours ([`program`]), found where they are installed ([`tools`]). What the server
//! says of itself decides whether we may, whether somebody else does it already, and whether its commits wait for us
//! ([`judge`]). What lies at the destination ([`layout`]) is read once and decided about from memory ([`inventory`]): whether the log
//! has a gap ([`chain`]), what a moment is restored from ([`plan`]), what may go ([`retention`]).
//!
//! The [`keeper`] makes bases when they are due, removes what no kept moment needs and tries restores out
//! ([`mod@drill`], on a server of its own: [`trial`]). [`Recovery`] is what is done from outside: list, verify
//! ([`inspect`], [`log_check`]), restore ([`mod@restore`], [`mod@stop`]).
//!
//! **When a write is safe.** The receiver flushes what it gets and says so at once. In mode `sync` the server's commits
//! wait for that by its `synchronous_standby_names`; we look every second whether that is really set, and refuse writes
//! while it is not.

mod base;
mod board;
mod calls;
mod chain;
mod descent;
mod drill;
mod files;
mod inspect;
mod inventory;
mod judge;
mod keeper;
mod layout;
mod log_check;
mod login;
mod lsn;
mod plan;
mod program;
mod receive;
mod received;
mod receiving;
mod recovery;
mod restore;
mod resume;
mod retention;
mod server;
mod stall;
mod stop;
mod tools;
mod trial;

pub use self::board::ReceivingStatus;
pub use self::lsn::Lsn;
pub use self::plan::{PlanError, Target};
pub(crate) use self::receiving::Receiving;
pub use self::recovery::{BaseSummary, Recovery};
pub use self::restore::Restored;
