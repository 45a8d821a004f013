//! Real processes, real sockets, real kills: the harness that the tests in `tests/` share.
//!
//! [`House`] starts the built binary on free ports, folded (one process) or unfolded (a process per role
//! instance), waits until it answers, and kills what it started when it is dropped. [`Client`] speaks HTTP
//! to it.

mod client;
mod house;
mod ports;

pub use client::{Client, Reply};
pub use house::{House, Layout, binary, wait_until};
pub use ports::{Ports, free_port};
