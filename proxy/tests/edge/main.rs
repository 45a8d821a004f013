//! The serve loop at its edge: real sockets, clients that show every byte, and backends that do as told.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod downgrade;
mod hostile;
mod http2_backend;
mod http2_bodies;
mod http2_calls;
mod http2_interim;
mod http2_peers;
mod lifecycle;
mod proxy_protocol;
mod raw_http2;
#[path = "../sockets/mod.rs"]
mod sockets;
mod support;
mod tls;
