//! What keeping a destination in order could not do when it tried last.

use std::collections::BTreeMap;

use super::{BackupError, figures};

/// What failed, and why; what is done the next time goes from it.
#[derive(Debug, Default)]
pub(super) struct Undone(BTreeMap<&'static str, String>);

impl Undone {
    /// Notes how something went, told as what it means if it failed. That the process stops is no failure.
    pub(super) fn note<T>(&mut self, what: &'static str, done: &Result<T, BackupError>) {
        match done {
            Ok(_) => drop(self.0.remove(what)),
            Err(BackupError::Stopping) => return,
            Err(error) => {
                tracing::warn!(%error, "{what}");
                self.0.insert(what, error.to_string());
            }
        }
        figures::show_undone(self.0.len());
    }

    /// Says why something was not done.
    pub(super) fn reason(&self, what: &str) -> Option<&str> {
        self.0.get(what).map(String::as_str)
    }

    /// Gives a sentence for each.
    pub(super) fn sentences(&self) -> Vec<String> {
        self.0.iter().map(|(what, why)| format!("{what}: {why}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_failed_is_told_until_it_is_done() {
        let mut undone = Undone::default();
        undone.note::<()>("no base was stored", &Err(BackupError::Busy));
        undone.note::<()>("nothing was merged", &Err(BackupError::Stopping));
        assert_eq!(undone.sentences(), [format!("no base was stored: {}", BackupError::Busy)]);
        undone.note("no base was stored", &Ok(()));
        assert_eq!(undone.sentences(), [""; 0]);
    }
}
