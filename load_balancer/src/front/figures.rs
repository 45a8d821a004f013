//! One thread's figures, published when it ticks: shared ones would be written by all threads at once.

use std::cell::{Cell, RefCell};

use process::metrics;
use prometheus::local::{LocalHistogram, LocalIntCounter};

/// The role's name in figures.
const ROLE: &str = "load-balancer";

pub(super) struct Figures {
    seconds: LocalHistogram,
    /// By status; found by a walk, since hardly ever more than a few occur.
    statuses: RefCell<Vec<(u16, LocalIntCounter)>>,
    last: Cell<usize>,
}

impl Figures {
    pub(super) fn new() -> Self {
        Self {
            seconds: metrics::REQUEST_SECONDS.with_label_values(&[ROLE]).local(),
            statuses: RefCell::default(),
            last: Cell::new(0),
        }
    }

    /// Counts a response.
    pub(super) fn count(&self, status: u16, elapsed_ns: u64) {
        self.seconds.observe(elapsed_ns as f64 / 1e9);
        let mut statuses = self.statuses.borrow_mut();
        let found = match statuses.get(self.last.get()) {
            Some((counted, _)) if *counted == status => Some(self.last.get()),
            _ => statuses.iter().position(|(counted, _)| *counted == status),
        };
        let place = found.unwrap_or_else(|| {
            let text = status.to_string();
            statuses.push((status, metrics::REQUESTS.with_label_values(&[ROLE, text.as_str()]).local()));
            statuses.len() - 1
        });
        self.last.set(place);
        statuses[place].1.inc();
    }

    /// Adds what was counted to the process's figures.
    pub(super) fn publish(&self) {
        self.seconds.flush();
        for (_, counter) in self.statuses.borrow().iter() {
            counter.flush();
        }
    }
}
