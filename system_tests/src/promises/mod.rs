//! What a database promised its callers, and whether it keeps it.
//!
//! [`Writers`] send transactions that each touch four things at once (two records, a counter, a job) and note in a
//! [`Ledger`] outside the system what they were told of each. After whatever befell the database, [`Contents`] are read
//! back and [`judge`]d: what was acknowledged is there, what was refused is not, nothing is half done, and the change
//! log has no gap.

mod contents;
mod ledger;
mod verdict;
mod writers;

pub use contents::Contents;
pub use ledger::{Entry, Ledger, Told};
pub use verdict::{Verdict, judge};
pub use writers::Writers;
