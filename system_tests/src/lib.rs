//! Real processes, real sockets, real kills: the harness that the tests in `tests/` share.
//!
//! [`House`] starts the built binary on free ports, folded (one process) or unfolded (a process per role
//! instance), waits until it answers, and kills what it started when it is dropped. [`Client`] speaks HTTP
//! to it. [`Alone`] is a load balancer or a gateway by itself. Where bytes matter, [`raw::Raw`] sends them as
//! they are, a [`recorder::Recorder`] behind the role keeps what arrives, and [`strict`] judges it. [`postgres`]
//! runs real PostgreSQL servers. [`Database`] is the database role alone, [`promises`] holds it to what it told its
//! callers, and [`power`] rebuilds the disk of a moment at which the power was lost.

mod balancer;
mod callers;
mod client;
mod database;
mod house;
pub mod load;
mod ports;
pub mod postgres;
pub mod power;
mod process;
pub mod promises;
pub mod raw;
pub mod recorder;
pub mod strict;

pub use balancer::{Alone, balancer_config, local, send_signal, wait_for_end};
pub use callers::Callers;
pub use client::{Client, Reply};
pub use database::{Database, check_structure};
pub use house::{House, Layout, binary, wait_until};
pub use ports::{Ports, free_port};
pub use process::Process;
