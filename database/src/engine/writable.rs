//! Whether the last write succeeded: for the role's health and its figure.

use tokio::sync::watch;

use crate::figures;

/// What the writers of an engine note together; clones note the same.
#[derive(Debug, Clone)]
pub(in crate::engine) struct Writable(watch::Sender<bool>);

impl Writable {
    /// Begins with an engine that was just opened, and so wrote.
    pub(in crate::engine) fn new() -> Self {
        Self(watch::Sender::new(true))
    }

    /// Notes how a write went.
    pub(in crate::engine) fn note(&self, is_writable: bool) {
        figures::show_writable(is_writable);
        self.0.send_if_modified(|noted| std::mem::replace(noted, is_writable) != is_writable);
    }

    /// Tells how the last one went.
    pub(in crate::engine) fn is_writable(&self) -> bool {
        *self.0.borrow()
    }

    /// Tells it, and when it changes.
    pub(in crate::engine) fn watch(&self) -> watch::Receiver<bool> {
        self.0.subscribe()
    }
}
