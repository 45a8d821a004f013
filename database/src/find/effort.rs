//! What a question may cost: bounded by what is compared, so that none holds a reader for long.

use super::Filter;

/// What reading one record counts as, in comparisons that take about as long.
const RECORD: u64 = 40;

/// How many bytes of a record a comparison is taken to look through.
const LOOKED_THROUGH: usize = 1024;

/// What is left of a question's effort.
#[derive(Debug)]
pub(crate) struct Effort {
    left: u64,
    /// How many comparisons decide on one record.
    comparisons: u64,
}

impl Effort {
    /// Allows as much as it takes to look at so many records with a plain filter.
    pub(crate) fn of(records: u64, filter: Option<&Filter>) -> Self {
        Self { left: records.saturating_mul(RECORD), comparisons: filter.map_or(0, Filter::comparisons) }
    }

    /// Spends what one more record of a size takes; false, and nothing is to be done, once there is nothing left.
    pub(crate) fn spend(&mut self, size: usize) -> bool {
        let has_some = self.left > 0;
        let times = (size / LOOKED_THROUGH + 1) as u64;
        self.left = self.left.saturating_sub(self.comparisons.saturating_mul(times).max(RECORD));
        has_some
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::find::Field;

    fn looked_at(filter: Option<&Filter>, size: usize) -> usize {
        let mut effort = Effort::of(1000, filter);
        std::iter::from_fn(|| effort.spend(size).then_some(())).count()
    }

    #[test]
    fn what_compares_more_or_longer_looks_at_fewer_records_and_at_one_in_any_case() {
        let like =
            |stars: usize| Filter::Like { field: Field::new("a").unwrap(), pattern: "a*".repeat(stars) };
        assert_eq!(looked_at(None, 200), 1000);
        assert_eq!(looked_at(Some(&like(1)), 200), 1000, "a plain filter costs no more than the record");
        let many = Filter::Or(vec![like(15); 20]);
        assert_eq!(looked_at(Some(&many), 200), 125, "320 comparisons are those of eight records");
        assert_eq!(looked_at(Some(&many), 2000), 63);
        assert_eq!(looked_at(Some(&many), 100 << 20), 1);
    }
}
