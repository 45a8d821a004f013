//! Continuous backup: what is shipped restores to every moment, what is acknowledged in mode `sync` is safe, what is
//! damaged is named, and a destination that fails loses nothing.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test's helper fails the test, and prints its seed"
)]

mod bucket;
mod corruption;
mod damaged_end;
mod failures;
mod harness;
mod keeping;
mod mistakes;
mod points;
mod refused;
mod things;
mod vacuum;
