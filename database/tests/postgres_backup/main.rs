//! Backup and recovery of PostgreSQL by its own tools, on real servers: what is restored is what the server held, what is
//! damaged is named, and a server that must not be touched is not.

#![allow(clippy::unwrap_used, reason = "a test's helper fails the test")]

mod anew;
mod damages;
mod descents;
mod harness;
mod keeping;
mod points;
mod reception;
mod servers;
#[path = "../shipping/things.rs"]
mod things;
