//! Records, jobs and changes, durable: a positive answer means that an fsync has happened.
//!
//! A [`Transaction`] enters through [`Database::transact`]. With [`Database::Remote`] it travels to the
//! database role as `POST /v1/transact` (`routes`); there, and with [`Database::Local`] in the role's own process, it
//! joins those that wait to be committed together: with SQLite by the one writer thread (`engine::sqlite::writer`), with
//! PostgreSQL by a lane with a connection (`engine::postgres::lane`). One caller's refusal leaves the others; all are
//! committed with one fsync and answered. Jobs are rows beside the records, so a record and the
//! job it causes commit together; how a job moves is decided in `job::lease`.

mod access;
pub mod backup;
pub mod change;
mod config;
pub mod copy;
pub mod engine;
mod error;
mod exchange;
mod figures;
pub mod find;
mod handle;
pub mod job;
pub mod limits;
pub mod merge_patch;
pub mod record;
mod remote;
mod retention;
mod role;
mod routes;
mod time;
pub mod transaction;
mod url;

pub use change::Change;
pub use config::Config;
pub use engine::{Engine, OpenError};
pub use error::Error;
pub use find::{Declaration, Find};
pub use handle::Database;
pub use job::{Job, JobCommand, JobState, NewJob};
pub use record::{Earlier, Page, Query, Record};
pub use remote::Remote;
pub use retention::Retention;
pub use role::{bind, bind_engine, open};
pub use transaction::{Committed, Operation, Outcome, Precondition, Transaction};
pub use url::Url;
