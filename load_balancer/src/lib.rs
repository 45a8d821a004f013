//! Picks the best backend for each request.
//!
//! As a library: a [`Cluster`] holds the backends of one name and what is known about them, shared by all
//! threads as atomics; a [`Balancer`] is one thread's way to send a request to the best of them, and to
//! another when that is safe; [`health::probe`] watches them from a thread of its own. As a role
//! ([`bind`]): a client's request enters `front`, which continues the trace, cleans the fields
//! and hands it to a balancer over the configured backends.

pub mod access_log;
pub mod admin;
mod backend;
pub mod balancer;
mod clock;
pub mod cluster;
pub mod config;
pub mod discovery;
mod dispatch;
mod ejection;
mod estimate;
mod explain;
mod figures;
mod front;
pub mod health;
mod lanes;
mod limit;
pub mod load;
mod queue;
mod reload;
pub mod role;
pub mod selection;
mod view;

pub use backend::{Backend, BackendReport, InFlight};
pub use balancer::{Balancer, SendError};
pub use cluster::{Cluster, Member, Members, Options};
pub use config::Config;
pub use dispatch::{Passing, hedge};
pub use role::bind;
pub use selection::{Policy, choose_backend};
