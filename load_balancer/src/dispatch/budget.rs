//! How much more than it was asked for a thread may send: a share of its live requests, so that neither repeats nor
//! hedges can multiply a fault.

use std::cell::Cell;

/// The share of requests that may be repeated.
pub(crate) const RETRY_SHARE: f64 = 0.2;

/// The repeats a thread may spend at first, and save up: a backend that dies breaks all it is working on at once.
pub(crate) const RETRY_SAVINGS: f64 = 200.0;

/// One thread's allowance.
#[derive(Debug)]
pub(crate) struct Budget {
    left: Cell<f64>,
    savings: f64,
}

impl Budget {
    /// Makes an allowance of what may be spent at first, and saved up.
    pub(crate) fn new(savings: f64) -> Self {
        Self { left: Cell::new(savings), savings }
    }

    /// Earns the share that one request is worth.
    pub(crate) fn earn(&self, share: f64) {
        self.left.set((self.left.get() + share).min(self.savings));
    }

    /// Spends one, if there is one.
    pub(crate) fn spend(&self) -> bool {
        let left = self.left.get() - 1.0;
        let may = left >= 0.0;
        if may {
            self.left.set(left);
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeats_are_a_fifth_of_requests_once_savings_are_spent() {
        let budget = Budget::new(RETRY_SAVINGS);
        while budget.spend() {}
        let mut repeats = 0;
        for _ in 0..1000 {
            budget.earn(RETRY_SHARE);
            repeats += u32::from(budget.spend());
        }
        assert!((199..=200).contains(&repeats), "{repeats}");
    }
}
