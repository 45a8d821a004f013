//! Waking those who wait: in this process at once, in others through NOTIFY.
//!
//! A notification is only a wake-up. It is sent after the commit, outside the transaction, because NOTIFY
//! within one would have commits wait for each other. One that is lost, when a process dies in between or a
//! connection breaks, costs its waiters at most the rest of their wait, at whose end they look by themselves.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::link::Link;
use super::session::{Listener, Server};
use crate::engine::wakes::{Topic, Wakes};

const WAKE_OTHERS: &str = include_str!("sql/wake_others.sql");

/// What the connection that notifies prepares.
pub(super) const STATEMENTS: &[&str] = &[WAKE_OTHERS];

/// The most topics that wait to be told to others; with more, they are told to look at everything.
const MOST: usize = 200;

/// What stands for every topic.
const EVERYTHING: &str = "*";

/// How long a listener pauses before it connects again, and how often it looks whether it must.
const PAUSE: Duration = Duration::from_secs(1);

/// Who is to be woken.
#[derive(Debug)]
pub(super) struct Signal {
    wakes: Arc<Wakes>,
    /// What notifications go by: the schema's name.
    channel: String,
    /// This process among the others: its own notifications are old news.
    own: String,
    untold: Mutex<BTreeSet<String>>,
    more: Notify,
}

impl Signal {
    /// Makes the process's signal.
    pub(super) fn new(wakes: Arc<Wakes>, channel: &str) -> Self {
        let own = uuid::Uuid::new_v4().simple().to_string();
        Self { wakes, channel: channel.to_lowercase(), own, untold: Mutex::default(), more: Notify::new() }
    }

    /// Wakes who waits for one of the topics, here and elsewhere.
    pub(super) fn wake(&self, topics: BTreeSet<Topic>) {
        if topics.is_empty() {
            return;
        }
        self.wakes.wake(&topics);
        let mut untold = self.untold.lock().unwrap_or_else(PoisonError::into_inner);
        for topic in topics {
            if untold.len() < MOST {
                untold.insert(write(&topic));
            } else {
                *untold = BTreeSet::from([EVERYTHING.to_owned()]);
            }
        }
        drop(untold);
        self.more.notify_one();
    }

    /// Tells other processes, for as long as it is polled; what comes meanwhile goes together.
    pub(super) async fn tell_others(&self, link: &Link) {
        loop {
            self.more.notified().await;
            let topics = std::mem::take(&mut *self.untold.lock().unwrap_or_else(PoisonError::into_inner));
            let topics: Vec<String> =
                topics.into_iter().map(|topic| format!("{} {topic}", self.own)).collect();
            let Ok(session) = link.session().await else { continue };
            if session.execute(WAKE_OTHERS, &[&self.channel, &topics]).await.is_err() {
                link.discard(&session).await;
            }
        }
    }

    /// Hears what other processes tell, for as long as it is polled.
    pub(super) async fn listen(self: &Arc<Self>, server: &Server) {
        loop {
            let signal = Arc::clone(self);
            let listener: Listener = Box::new(move |notification| signal.hear(notification.payload()));
            if let Ok(session) = server.connect(&[], Some(listener)).await
                && session.run(&format!("LISTEN {}", self.channel)).await.is_ok()
            {
                // Whatever was told while nobody listened.
                self.wakes.wake_all();
                while !session.is_closed() {
                    tokio::time::sleep(PAUSE).await;
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn hear(&self, payload: &str) {
        match payload.split_once(' ') {
            Some((from, _)) if from == self.own => {}
            Some((_, EVERYTHING)) => self.wakes.wake_all(),
            Some((_, topic)) => self.wakes.wake(&read(topic)),
            None => {}
        }
    }
}

fn write(topic: &Topic) -> String {
    match topic {
        Topic::Queue(queue) => format!("queue {queue}"),
        Topic::Job(id) => format!("job {id}"),
        Topic::Changes(Some(namespace)) => format!("changes {namespace}"),
        // Whoever hears of a namespace's changes also wakes those who wait for any.
        Topic::Changes(None) => "changes".to_owned(),
    }
}

fn read(topic: &str) -> BTreeSet<Topic> {
    match topic.split_once(' ') {
        Some(("queue", queue)) => BTreeSet::from([Topic::Queue(queue.to_owned())]),
        Some(("job", id)) => BTreeSet::from([Topic::Job(id.to_owned())]),
        Some(("changes", namespace)) => BTreeSet::from([Topic::Changes(Some(namespace.to_owned()))]),
        None if topic == "changes" => BTreeSet::from([Topic::Changes(None)]),
        _ => BTreeSet::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_is_heard_as_it_was_told() {
        for topic in [
            Topic::Queue("mail".into()),
            Topic::Job("a b".into()),
            Topic::Changes(Some("shop".into())),
            Topic::Changes(None),
        ] {
            assert_eq!(read(&write(&topic)), BTreeSet::from([topic]));
        }
        assert_eq!(read("something new"), BTreeSet::new(), "of a later version");
    }

    #[test]
    fn more_topics_than_can_wait_become_one() {
        let signal = Signal::new(Arc::default(), "shop");
        signal.wake((0..MOST + 1).map(|n| Topic::Queue(format!("{n}"))).collect());
        assert_eq!(*signal.untold.lock().unwrap(), BTreeSet::from([EVERYTHING.to_owned()]));
    }
}
