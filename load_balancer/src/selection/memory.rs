//! What one thread remembers between two choices.

use std::cell::Cell;

/// What one thread remembers between two choices: whose turn it is.
#[derive(Debug, Default)]
pub struct Memory {
    turn: Cell<usize>,
}

impl Memory {
    /// Gives the next number of a count.
    pub(crate) fn next_turn(&self) -> usize {
        let turn = self.turn.get();
        self.turn.set(turn.wrapping_add(1));
        turn
    }
}
