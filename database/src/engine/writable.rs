//! Whether writes go: for the role's health and its figure.

use tokio::sync::watch;

use crate::figures;

/// How writing goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Writing {
    /// Whether the last write failed.
    pub(crate) has_failed: bool,
    /// Whether none is begun, because the backup could not hold it and that is the policy.
    pub(crate) is_refused: bool,
}

impl Writing {
    /// Tells whether a write is begun, and is likely to succeed.
    pub(crate) fn goes(self) -> bool {
        !self.has_failed && !self.is_refused
    }
}

/// What the writers of an engine note together; clones note the same.
#[derive(Debug, Clone)]
pub(in crate::engine) struct Writable(watch::Sender<Writing>);

impl Writable {
    /// Begins with an engine that was just opened, and so wrote.
    pub(in crate::engine) fn new() -> Self {
        Self(watch::Sender::new(Writing::default()))
    }

    /// Notes how a write went.
    pub(in crate::engine) fn note(&self, is_writable: bool) {
        self.change(|writing| writing.has_failed = !is_writable);
    }

    /// Notes whether writes are refused.
    pub(in crate::engine) fn note_refusal(&self, is_refused: bool) {
        self.change(|writing| writing.is_refused = is_refused);
    }

    /// Tells whether the last write failed.
    pub(in crate::engine) fn has_failed(&self) -> bool {
        self.0.borrow().has_failed
    }

    /// Tells how writing goes, and when that changes.
    pub(in crate::engine) fn watch(&self) -> watch::Receiver<Writing> {
        self.0.subscribe()
    }

    fn change(&self, change: impl FnOnce(&mut Writing)) {
        self.0.send_if_modified(|writing| {
            let before = *writing;
            change(writing);
            // Under the lock, so that the figure is that of the last change.
            figures::show_writable(writing.goes());
            *writing != before
        });
    }
}
