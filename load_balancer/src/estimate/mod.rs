//! What is learnt from answers, as figures that fade by time, kept in atomics and updated without a lock.
//!
//! Two threads that update at once may lose one of the two samples. That is harmless here, and a lock or a
//! retry loop on every request is not.

mod decaying;
mod excess;
mod recent;

pub(crate) use decaying::{PeakEwma, Penalty, fade};
pub(crate) use excess::Excess;
pub(crate) use recent::Recent;
