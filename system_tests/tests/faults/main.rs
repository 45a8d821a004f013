//! Faults under load: no idempotent request fails, and no other one reaches two backends.
//!
//! `SIXFOLD_FAULT_RUNS` and `SIXFOLD_FAULT_RATE` make it the full bar (`make soak`: 20 runs at 3,000 requests
//! a second); without them each fault is run once, at a rate two busy cores bear. Every scenario prints a row
//! of the table that `bench/results/faults.md` keeps.
//!
//! Each was seen to fail. By a setting in the environment, which beats the file: `SIXFOLD__LOAD_BALANCER__RETRIES=0`
//! for the killed, the stopped and the rolling restart, `SIXFOLD__LOAD_BALANCER__LIMIT__OUTAGE_WAIT=0s` for all
//! down and back, `SIXFOLD__PROCESS__GRACE=0s` for the handover. By a break: a `Cluster::apply` that empties the
//! list for 100 ms before it fills it, without `OUTAGE_WAIT`, for the reload; a `Lane::can_repeat` that is content
//! with a broken connection for the repeated `POST`, which takes a few runs at the low rate.

mod backends;
mod gateways;
mod ledger;
mod scenario;
mod scenarios;
