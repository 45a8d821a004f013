//! The wire lane over real sockets, before a backend that does as it is told and notes what it gets.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod backend;
mod front;
#[path = "../sockets/mod.rs"]
mod sockets;

mod bodies;
mod connections;
mod heads;
mod http2;
