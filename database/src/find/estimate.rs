//! How many records match, told from a fair sample of them; one rule for every engine.
//!
//! The records that a walk meets first are no fair sample: those that match may all lie at its beginning. So every
//! record has a *lot*, a number below [`LOTS`] that an engine makes of what never changes about the record and that has nothing
//! to do with what it holds, and the sample is the records whose lots are below a threshold. How many records a collection has
//! is kept with every commit, so the threshold is chosen for about [`SAMPLE`] records, and the share that matches
//! among them is the share among all, give or take a margin that follows from the sample's size alone.
//!
//! Lots below [`INDEXED_LOTS`] are in an index, a sixteenth of the records: a write of sixteen pays for it. Of a
//! collection that is too small for that, an engine looks at the names of all records, 16,000 at most, and not at what they hold.

use std::ops::ControlFlow;

use super::{Find, Total};
use crate::Record;
use crate::limits::ANSWER_BYTES;

/// How many lots there are: the lot of a record is any of them with the same chance.
pub(crate) const LOTS: u64 = 1 << 20;

/// The lots that are in the index of the sample.
pub(crate) const INDEXED_LOTS: u64 = LOTS / 16;

/// How many records a sample has, about: the margin is then at most 3.2 % of the collection's records.
pub(crate) const SAMPLE: u64 = 1_000;

/// The most records of a sample, should chance have it that many more than [`SAMPLE`] have a lot below the threshold.
pub(crate) const SAMPLE_LIMIT: u64 = 2 * SAMPLE;

/// The most bytes of documents that are read of a sample; one of larger records is smaller, and its margin wider.
pub(crate) const SAMPLE_BYTES: usize = 4 * ANSWER_BYTES;

/// Which records are the sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sample {
    /// Those whose lots are below this.
    pub(crate) threshold: u32,
    /// Whether all of them are in the index of the sample.
    pub(crate) is_indexed: bool,
}

impl Sample {
    /// Chooses a sample of so many records.
    pub(crate) fn of(population: u64) -> Self {
        let threshold = (LOTS.saturating_mul(SAMPLE) / population.max(SAMPLE)).max(1);
        Self {
            threshold: u32::try_from(threshold).unwrap_or(u32::MAX),
            is_indexed: threshold <= INDEXED_LOTS,
        }
    }
}

/// An estimate in the making.
#[derive(Debug)]
pub(crate) struct Estimating<'a> {
    find: &'a Find,
    examined: u64,
    matched: u64,
    bytes: usize,
}

impl<'a> Estimating<'a> {
    /// Begins with nothing.
    pub(crate) fn new(find: &'a Find) -> Self {
        Self { find, examined: 0, matched: 0, bytes: 0 }
    }

    /// Takes a record of the sample, with its size as text; breaks when enough was read.
    pub(crate) fn take(&mut self, record: &Record, size: usize) -> ControlFlow<()> {
        self.examined += 1;
        self.matched += u64::from(self.find.filter.as_ref().is_none_or(|filter| filter.matches(record)));
        self.bytes += size;
        match self.bytes > SAMPLE_BYTES {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    }

    /// Estimates how many match of so many records, of which so many were counted one by one.
    pub(crate) fn finish(self, population: u64, counted: u64) -> Total {
        let share = self.matched as f64 / self.examined.max(1) as f64;
        let estimated = (population as f64 * share).round() as u64;
        let margin = margin(population, self.examined, self.matched);
        Total { counted: estimated.max(counted), is_exact: false, margin: Some(margin) }
    }
}

/// Gives how far off an estimate is at most in 19 cases of 20.
///
/// Two standard errors of a share, the sample having two more that match and two more that do not (Agresti and Coull
/// 1998): so none that matches in a sample does not mean none for sure.
fn margin(population: u64, examined: u64, matched: u64) -> u64 {
    if examined == 0 {
        return population;
    }
    let (examined, matched) = (examined as f64 + 4.0, matched as f64 + 2.0);
    let share = matched / examined;
    let error = (share * (1.0 - share) / examined).sqrt();
    (2.0 * error * population as f64).ceil() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_has_about_as_many_records_whatever_their_number() {
        for (population, is_indexed) in [(1_001, false), (15_999, false), (16_001, true), (5_000_000, true)] {
            let sample = Sample::of(population);
            let expected = population as f64 * f64::from(sample.threshold) / LOTS as f64;
            assert!((990.0..1_010.0).contains(&expected), "{population}: {expected}");
            assert_eq!(sample.is_indexed, is_indexed, "{population}");
        }
        assert_eq!(Sample::of(0).threshold, LOTS as u32);
    }

    #[test]
    fn the_margin_is_as_documented() {
        assert!(margin(100_000, 1_000, 500) <= 3_200);
        assert!(margin(100_000, 1_000, 0) <= 300, "few of a thousand are few of all");
        assert!(margin(100_000, 1_000, 0) > 100, "and none of a thousand may be some of all");
        assert_eq!(margin(7, 0, 0), 7);
    }
}
