//! Runs durable jobs, and lets others enqueue, watch and pull them over HTTP.
//!
//! A job enters through `api` (or in a service's own transaction) and lies in the database. The
//! `executor` claims it with a lease, an `attempt` runs its [`Kind`] while a heartbeat keeps the lease,
//! and the attempt's end is written under the lease's fencing token. An attempt whose worker died, or which
//! lost its lease, runs again elsewhere: a job runs at least once, so a kind must bear repetition.

mod api;
mod attempt;
mod config;
mod executor;
mod figures;
pub mod kind;
mod lease;
mod pace;
mod role;
mod settle;

pub use config::Config;
pub use kind::{Attempt, Failure, Kind, Kinds, Progress};
pub use role::{bind, bind_with_kinds};
