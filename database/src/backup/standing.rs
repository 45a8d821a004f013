//! Whether what is committed reaches the destination: told to the health, the figures and the log.

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::figures;

/// Whether what is committed reaches the destination.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Standing {
    /// A generation is being begun: its base is not at the destination yet.
    Starting,
    /// It does.
    Shipping,
    /// It does not, and is tried again.
    Unreachable {
        /// What the destination, or the server, said last.
        reason: String,
    },
    /// It does not any more, though nothing broke: what is confirmed stands still. Of PostgreSQL, whose log another program
    /// receives.
    Stalled {
        /// Since when, and how far behind that is.
        reason: String,
    },
    /// It does, but answers do not wait for it as mode `sync` promises. Of PostgreSQL, whose server decides that.
    NotSynchronous {
        /// What is to be set at the server.
        reason: String,
    },
    /// Somebody else backs the server up, so we do not.
    KeptOff {
        /// Who.
        reason: String,
    },
}

impl Standing {
    /// Says why a role whose backup stands so is not well; nothing if it is.
    pub(crate) fn fault(&self) -> Option<&'static str> {
        match self {
            Self::Starting | Self::Shipping | Self::KeptOff { .. } => None,
            Self::Unreachable { .. } => Some("the backup destination cannot be used"),
            Self::Stalled { .. } => Some("the backup stalls: it gets nothing of what is written"),
            Self::NotSynchronous { .. } => Some("the server's commits do not wait for the backup"),
        }
    }

    fn reason(&self) -> &str {
        match self {
            Self::Starting | Self::Shipping => "",
            Self::Unreachable { reason }
            | Self::Stalled { reason }
            | Self::NotSynchronous { reason }
            | Self::KeptOff { reason } => reason,
        }
    }

    /// Tells whether another one is news for the log: numbers in a reason are none.
    fn is_news(&self, before: &Self) -> bool {
        let words = |standing: &Self| standing.reason().replace(|c: char| c.is_ascii_hexdigit(), "");
        std::mem::discriminant(self) != std::mem::discriminant(before) || words(self) != words(before)
    }
}

/// The standing as it is noted and watched.
#[derive(Debug)]
pub(super) struct Standings(watch::Sender<Standing>);

impl Standings {
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(Standing::Starting))
    }

    /// Tells the standing, and when it changes.
    pub(super) fn watch(&self) -> watch::Receiver<Standing> {
        self.0.subscribe()
    }

    pub(super) fn get(&self) -> Standing {
        self.0.borrow().clone()
    }

    /// Notes the standing; a change is said in the log once.
    pub(super) fn note(&self, standing: Standing) {
        figures::REACHABLE.with_label_values::<&str>(&[]).set(i64::from(standing == Standing::Shipping));
        let (mut is_news, mut is_other) = (false, false);
        self.0.send_if_modified(|noted| {
            is_news = standing.is_news(noted);
            is_other = std::mem::discriminant(noted) != std::mem::discriminant(&standing);
            *noted = standing.clone();
            is_other
        });
        if !is_news {
            return;
        }
        match standing {
            Standing::Unreachable { reason } => {
                tracing::error!(reason, "the backup destination cannot be used; nothing is shipped");
            }
            Standing::Stalled { reason } => tracing::error!(reason, "the backup stalls"),
            Standing::NotSynchronous { reason } => {
                tracing::error!(reason, "answers do not wait for the backup; writes are refused");
            }
            Standing::KeptOff { reason } => tracing::warn!(reason, "there is no backup by Sixfold"),
            Standing::Shipping => tracing::info!("the log is shipped to the backup destination"),
            Standing::Starting => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_reason_with_another_number_is_no_news() {
        let busy = |pid| Standing::Unreachable { reason: format!("the slot is active for PID {pid}") };
        assert!(!busy(17).is_news(&busy(18)));
        assert!(busy(17).is_news(&Standing::Unreachable { reason: "no space".into() }));
        assert!(busy(17).is_news(&Standing::Shipping));
        assert_eq!(Standing::Shipping.fault(), None);
        assert!(Standing::Stalled { reason: String::new() }.fault().is_some());
    }
}
