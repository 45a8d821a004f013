//! How many repeats a thread may send: a share of its live requests, so that repeats cannot multiply a fault.

use std::cell::Cell;

/// The share of requests that may be repeated.
const SHARE: f64 = 0.2;

/// What a thread may spend at first, and save up: a backend that dies breaks all it is working on at once.
const SAVINGS: f64 = 200.0;

/// One thread's allowance of repeats.
#[derive(Debug)]
pub(crate) struct RetryBudget(Cell<f64>);

impl Default for RetryBudget {
    fn default() -> Self {
        Self(Cell::new(SAVINGS))
    }
}

impl RetryBudget {
    /// Earns a share of a repeat by a request.
    pub(crate) fn earn(&self) {
        self.0.set((self.0.get() + SHARE).min(SAVINGS));
    }

    /// Spends a repeat, if there is one.
    pub(crate) fn spend(&self) -> bool {
        let left = self.0.get() - 1.0;
        let may = left >= 0.0;
        if may {
            self.0.set(left);
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeats_are_a_fifth_of_requests_once_savings_are_spent() {
        let budget = RetryBudget::default();
        while budget.spend() {}
        let mut repeats = 0;
        for _ in 0..1000 {
            budget.earn();
            repeats += u32::from(budget.spend());
        }
        assert!((199..=200).contains(&repeats), "{repeats}");
    }
}
