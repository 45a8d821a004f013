//! What one thread remembers between two choices.

use std::cell::{Cell, RefCell};

use super::candidates::ALL_UP_TO;
use super::pool::Pool;

/// What one thread remembers between two choices: whose turn it is, and Prequal's pool of probes.
///
/// Make a new one when the backends change their places.
#[derive(Debug)]
pub struct Memory {
    turn: Cell<usize>,
    credits: [Cell<f64>; ALL_UP_TO],
    /// Credits of a large fleet; allocated once.
    many: RefCell<Vec<f64>>,
    /// The greatest share of the present round and of the one before.
    greatest: Cell<(f64, f64)>,
    pub(crate) pool: RefCell<Pool>,
    is_probed: Cell<bool>,
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            turn: Cell::new(0),
            credits: std::array::from_fn(|_| Cell::new(0.0)),
            many: RefCell::default(),
            greatest: Cell::new((0.0, 0.0)),
            pool: RefCell::default(),
            is_probed: Cell::new(false),
        }
    }
}

impl Memory {
    /// Takes in what a backend told of its load when it was probed.
    pub fn note_probe(&self, index: usize, load: super::Load, now_ns: u64) {
        self.is_probed.set(true);
        self.pool.borrow_mut().add(index, f64::from(load.in_flight), load.latency_ns as f64, now_ns);
    }

    pub(crate) fn sends_no_probes(&self) -> bool {
        !self.is_probed.get()
    }

    /// Gives the next number of a count.
    pub(crate) fn next_turn(&self) -> usize {
        let turn = self.turn.get();
        self.turn.set(turn.wrapping_add(1));
        turn
    }

    pub(crate) fn credit(&self, index: usize) -> f64 {
        self.credits.get(index).map_or(0.0, Cell::get)
    }

    pub(crate) fn set_credit(&self, index: usize, credit: f64) {
        if let Some(known) = self.credits.get(index) {
            known.set(credit);
        }
    }

    pub(crate) fn large_credit(&self, index: usize, count: usize) -> f64 {
        let mut many = self.many.borrow_mut();
        if many.len() < count {
            many.resize(count, 0.0);
        }
        many[index]
    }

    pub(crate) fn set_large_credit(&self, index: usize, credit: f64) {
        if let Some(known) = self.many.borrow_mut().get_mut(index) {
            *known = credit;
        }
    }

    /// Gives the greatest share seen in this round or the one before; a round begins at index 0.
    pub(crate) fn price(&self, share: f64, index: usize) -> f64 {
        let (before, now) = self.greatest.get();
        let (before, now) = if index == 0 { (now, share) } else { (before, now.max(share)) };
        self.greatest.set((before, now));
        before.max(now)
    }

    /// Gives the greatest share that was drawn.
    pub(crate) fn greatest_share(&self) -> f64 {
        self.greatest.get().0
    }

    pub(crate) fn see_share(&self, share: f64) {
        let (greatest, _) = self.greatest.get();
        if share > greatest {
            self.greatest.set((share, 0.0));
        }
    }
}
