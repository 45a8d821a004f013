//! The worker at its edges: a real database role, real sockets, real services.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests are not marked as tests")]

mod api;
mod attempts;
mod house;
mod kinds;
mod lifecycle;
mod probe;
mod relay;
