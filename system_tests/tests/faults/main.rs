//! Faults under load: no idempotent request fails, and no other one reaches two backends.
//!
//! `SIXFOLD_FAULT_RUNS` and `SIXFOLD_FAULT_RATE` make it the full bar (`make soak`: 20 runs at 3,000 requests
//! a second); without them each fault is run once, at a rate two busy cores bear. Every scenario prints a row
//! of the table that `bench/results/faults.md` keeps.

mod backends;
mod gateways;
mod ledger;
mod scenario;
mod scenarios;
