//! The load balancer at its edge: a real role on port 0, real sockets on both sides.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod affinity;
mod bodies;
mod failure;
mod fields;
mod health;
mod http2;
mod limits;
mod logs;
mod name_server;
mod names;
mod registration;
mod reload;
mod shutdown;
mod support;
mod upgrade;
