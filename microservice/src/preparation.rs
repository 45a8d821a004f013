//! What a service has made before it is ready: what its collections declare, the key of its cursors, what accounts need.
//!
//! None of it waits for another: a declaration that the records contradict, or an index that takes an hour, holds up
//! neither the other collections nor the service's background work. What is missing is tried again until it is there, and
//! the service's health says it meanwhile ([`Progress::standing`]).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use database::{Declaration, Error};
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::sync::watch;

use crate::accounts::Accounts;
use crate::cursor::Keys;
use crate::namespace::Namespace;

/// The first pause before what failed is tried again; doubled up to one of the longest, so that a house that starts all at
/// once is ready at once.
pub(crate) const FIRST_PAUSE: Duration = Duration::from_millis(20);

/// The longest pause while the database does not answer.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// The longest pause while records contradict a declaration: somebody must change them, and each try reads all of them.
const CONTRADICTED_PAUSE: Duration = Duration::from_secs(60);

/// How many are under way together; with PostgreSQL each that changes something has a connection.
const AT_ONCE: usize = 16;

/// What is to be made.
pub(crate) struct Preparation {
    /// Where it is made.
    pub(crate) namespace: Namespace,
    /// What its collections declare.
    pub(crate) declarations: Vec<Declaration>,
    /// The key of its cursors: made when it is needed, it would be missed when the disk is full.
    pub(crate) cursor_keys: Option<Arc<Keys>>,
    /// The accounts, of the accounts service.
    pub(crate) accounts: Option<Arc<Accounts>>,
}

/// One thing that is to be made.
#[derive(Clone, Copy)]
enum Step<'a> {
    Declare(&'a Declaration),
    MakeCursorKey(&'a Keys),
    PrepareAccounts(&'a Accounts),
}

/// How far it is.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Whether everything is there.
    pub(crate) is_done: bool,
    /// What failed the last time, and why.
    failed: BTreeMap<String, String>,
}

impl Progress {
    /// Says why the service is not ready, if it is not.
    pub(crate) fn standing(&self) -> Option<String> {
        match (self.is_done, self.failed.is_empty()) {
            (true, _) => None,
            (false, true) => Some("what its collections declare is being made".to_owned()),
            (false, false) => {
                let mut reasons: Vec<&str> = self.failed.values().map(String::as_str).collect();
                // The database says of every step that it is not available.
                reasons.dedup();
                Some(reasons.join("; "))
            }
        }
    }
}

impl Preparation {
    /// Makes all of it, however often it must be tried.
    pub(crate) async fn run(&self, progress: &watch::Sender<Progress>) {
        let mut left = self.steps();
        let mut pause = FIRST_PAUSE;
        loop {
            let (mut waiting, mut attempts) = (left.into_iter(), FuturesUnordered::new());
            let (mut failed, mut longest) = (Vec::new(), CONTRADICTED_PAUSE);
            loop {
                attempts
                    .extend(waiting.by_ref().take(AT_ONCE - attempts.len()).map(|step| self.attempt(step)));
                let Some((step, done)) = attempts.next().await else { break };
                progress.send_modify(|progress| progress.note(step, done.as_ref().err()));
                if let Err(error) = done {
                    if !matches!(error, Error::Invalid { .. }) {
                        longest = LONGEST_PAUSE;
                    }
                    failed.push(step);
                }
            }
            if failed.is_empty() {
                break progress.send_modify(|progress| progress.is_done = true);
            }
            left = failed;
            tokio::time::sleep(pause.min(longest)).await;
            pause = (pause * 2).min(CONTRADICTED_PAUSE);
        }
    }

    fn steps(&self) -> Vec<Step<'_>> {
        let declarations = self.declarations.iter().map(Step::Declare);
        let key = self.cursor_keys.iter().map(|keys| Step::MakeCursorKey(keys));
        let accounts = self.accounts.iter().map(|accounts| Step::PrepareAccounts(accounts));
        declarations.chain(key).chain(accounts).collect()
    }

    async fn attempt<'a>(&self, step: Step<'a>) -> (Step<'a>, Result<(), Error>) {
        let done = match step {
            Step::Declare(declaration) => {
                self.namespace.database.declare(&self.namespace.name, declaration).await
            }
            Step::MakeCursorKey(keys) => keys.key().await.map(drop),
            Step::PrepareAccounts(accounts) => accounts.prepare().await,
        };
        (step, done)
    }
}

impl Progress {
    /// Notes what came of a step. What the database refuses is said once in the log; that it does not answer is said by who
    /// watches it.
    fn note(&mut self, step: Step<'_>, error: Option<&Error>) {
        let name = step.name();
        let Some(error) = error else {
            self.failed.remove(&name);
            return;
        };
        let reason = match error {
            Error::Invalid { reason } => format!("{}: {reason}", error.standing()),
            _ => error.standing().to_owned(),
        };
        let is_new = self.failed.get(&name) != Some(&reason);
        if is_new && matches!(error, Error::Invalid { .. }) {
            tracing::warn!(%error, step = name, "{}", error.standing());
        } else {
            tracing::debug!(%error, step = name, "{}", error.standing());
        }
        self.failed.insert(name, reason);
    }
}

impl Step<'_> {
    fn name(self) -> String {
        match self {
            Self::Declare(declaration) => format!("declaring {}", declaration.collection),
            Self::MakeCursorKey(_) => "the key of cursors".to_owned(),
            Self::PrepareAccounts(_) => "accounts".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_database_refuses_is_told_of_every_collection_and_what_it_does_not_answer_once() {
        let of = |name: &str| Declaration { collection: name.to_owned(), ..Declaration::default() };
        let (first, second) = (of("a"), of("b"));
        let mut progress = Progress::default();
        assert_eq!(progress.standing().as_deref(), Some("what its collections declare is being made"));
        let lost = Error::Unavailable { reason: "gone".into() };
        for declaration in [&first, &second] {
            progress.note(Step::Declare(declaration), Some(&lost));
        }
        assert_eq!(progress.standing().as_deref(), Some("the database is not available"));
        for declaration in [&first, &second] {
            let refused = Error::Invalid { reason: format!("not {}", declaration.collection) };
            progress.note(Step::Declare(declaration), Some(&refused));
        }
        let both = "the database refuses the request: not a; the database refuses the request: not b";
        assert_eq!(progress.standing().as_deref(), Some(both));
        progress.note(Step::Declare(&first), None);
        assert_eq!(progress.standing().as_deref(), Some("the database refuses the request: not b"));
        progress.is_done = true;
        assert_eq!(progress.standing(), None);
    }
}
