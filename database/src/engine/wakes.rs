//! Waking those who wait for a queue, a job or a namespace's changes once a commit made it worth a look.
//!
//! A waiter registers before it looks, so nothing committed after its look is missed; a wake that finds
//! nothing is harmless.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::Job;

/// What somebody can wait for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Topic {
    /// A job that can be claimed, or one that is due at another time than before.
    Queue(String),
    /// A job that reached a final state.
    Job(String),
    /// A change in a namespace, or in any.
    Changes(Option<String>),
}

/// Who waits for what.
#[derive(Debug, Default)]
pub(super) struct Wakes {
    waiting: Mutex<HashMap<Topic, Vec<Arc<Notify>>>>,
}

impl Wakes {
    /// Registers a waiter for any of the topics, until it is dropped.
    pub(super) fn register(self: &Arc<Self>, topics: Vec<Topic>) -> Waiter {
        let notify = Arc::new(Notify::new());
        let mut waiting = self.lock();
        for topic in &topics {
            waiting.entry(topic.clone()).or_default().push(Arc::clone(&notify));
        }
        Waiter { wakes: Arc::clone(self), topics, notify }
    }

    /// Wakes everybody who waits for one of the topics.
    pub(super) fn wake(&self, topics: &BTreeSet<Topic>) {
        let waiting = self.lock();
        for notify in topics.iter().filter_map(|topic| waiting.get(topic)).flatten() {
            notify.notify_one();
        }
    }

    /// Wakes everybody, when it is not known what they missed.
    pub(super) fn wake_all(&self) {
        for notify in self.lock().values().flatten() {
            notify.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Topic, Vec<Arc<Notify>>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A registered waiter.
pub(super) struct Waiter {
    wakes: Arc<Wakes>,
    topics: Vec<Topic>,
    notify: Arc<Notify>,
}

impl Waiter {
    /// Waits for the next wake; one that came since the last is not lost.
    pub(super) async fn woken(&self) {
        self.notify.notified().await;
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let mut waiting = self.wakes.lock();
        for topic in &self.topics {
            if let Some(waiters) = waiting.get_mut(topic) {
                waiters.retain(|notify| !Arc::ptr_eq(notify, &self.notify));
                if waiters.is_empty() {
                    waiting.remove(topic);
                }
            }
        }
    }
}

/// What a batch did that others may wait for.
#[derive(Debug, Default)]
pub(super) struct Effects {
    /// Whom to wake once it is durable.
    pub(super) topics: BTreeSet<Topic>,
    /// Whether leases were given, kept or ended, so that the next expiry may be another.
    pub(super) leases: bool,
}

impl Effects {
    /// Notes that a record of a namespace changed.
    pub(super) fn changed(&mut self, namespace: &str) {
        self.topics.insert(Topic::Changes(Some(namespace.to_owned())));
        self.topics.insert(Topic::Changes(None));
    }

    /// Notes that a job moved.
    pub(super) fn moved(&mut self, job: &Job) {
        match job.state {
            crate::JobState::Scheduled | crate::JobState::Ready => {
                self.topics.insert(Topic::Queue(job.queue.clone()));
            }
            crate::JobState::Leased => {}
            _ => {
                self.topics.insert(Topic::Job(job.id.clone()));
            }
        }
        self.leases |= job.lease_token > 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_wake_between_the_look_and_the_wait_is_not_lost() {
        let wakes = Arc::new(Wakes::default());
        let waiter = wakes.register(vec![Topic::Queue("mail".into()), Topic::Queue("sms".into())]);
        wakes.wake(&BTreeSet::from([Topic::Queue("sms".into())]));
        waiter.woken().await;
        drop(waiter);
        assert!(wakes.lock().is_empty(), "a waiter that left leaves nothing behind");
    }
}
