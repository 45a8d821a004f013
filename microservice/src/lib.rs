//! REST resource services and accounts: one program, of which an instance serves one service.
//!
//! A service is a namespace of the database with collections; a collection is a JSON Schema plus
//! declarations. [`bind`] listens; a request then passes the trace and the cluster token and reaches the
//! `collection` its path names. A read goes through the shared cache, a write is checked against the
//! schema, made durable by the database together with the jobs it causes, and invalidates before it is
//! answered. What others write to the same records (a worker, another instance) is followed in the
//! change log and invalidated too (`follower`). `accounts` is the one service that is more than records.

mod accounts;
mod assemble;
mod background;
mod body;
mod collection;
mod condition;
mod config;
mod cursor;
mod declare;
mod doubt;
mod fault;
mod follower;
mod json_patch;
mod namespace;
mod openapi;
mod preparation;
mod purge;
mod query;
mod reseal;
mod role;
mod rules;
mod schema;
mod sensitive;
mod staleness;

pub use accounts::FirstAdmin;
pub use config::Config;
pub use role::{Neighbours, bind};
