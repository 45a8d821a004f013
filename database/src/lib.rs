//! Records, jobs and changes, durable: a positive answer means that an fsync has happened.
//!
//! A [`Transaction`] enters through [`Database::transact`]. With [`Database::Remote`] it travels to the
//! database role as `POST /v1/transact`; there, and with [`Database::Local`], it joins the channel of the
//! one writer thread, which gives each caller a savepoint, commits all of them with one fsync and answers.
//! Jobs are rows beside the records, so a record and the job it causes commit together.

pub mod change;
mod error;
mod handle;
pub mod job;
pub mod record;
pub mod transaction;

pub use change::Change;
pub use error::Error;
pub use handle::{Database, Remote};
pub use job::{Job, JobCommand, JobState, NewJob};
pub use record::{Page, Query, Record};
pub use transaction::{Committed, Operation, Outcome, Precondition, Transaction};
