//! The way from the source to the destination, and the one question that goes back: to send all items once more, from the
//! same snapshot, so that what differs can be named.

use std::collections::VecDeque;

use tokio::sync::{mpsc, oneshot};

use super::{CopyError, Item};
use crate::{Declaration, Error};

/// How many chunks may wait for the destination.
const WAITING: usize = 2;

/// What the source sends.
#[derive(Debug)]
pub(crate) enum Part {
    /// Some items.
    Items(Vec<Item>),
    /// All were sent.
    End(End),
}

/// What is sent after all items.
#[derive(Debug)]
pub(crate) struct End {
    /// The last sequence.
    pub(crate) sequence: u64,
    /// What collections declare in their namespaces.
    pub(crate) declarations: Vec<(String, Declaration)>,
    /// Up to which sequence changes are gone, as every engine keeps it.
    pub(crate) trimmed: Vec<(String, u64)>,
}

/// The source's end of the way to the destination.
#[derive(Debug)]
pub(crate) struct Outbox {
    parts: mpsc::Sender<Part>,
    again: oneshot::Receiver<()>,
}

/// The destination's end.
#[derive(Debug)]
pub(crate) struct Inbox {
    parts: mpsc::Receiver<Part>,
    again: Option<oneshot::Sender<()>>,
    /// What came and was not looked at, when all is sent once more.
    left: VecDeque<Item>,
}

/// Makes a way.
pub(super) fn make() -> (Outbox, Inbox) {
    let ((sender, receiver), (ask, asked)) = (mpsc::channel(WAITING), oneshot::channel());
    let inbox = Inbox { parts: receiver, again: Some(ask), left: VecDeque::new() };
    (Outbox { parts: sender, again: asked }, inbox)
}

impl Outbox {
    pub(crate) async fn send(&self, part: Part) -> Result<(), CopyError> {
        self.parts.send(part).await.map_err(|_| nobody_listens())
    }

    pub(crate) fn blocking_send(&self, part: Part) -> Result<(), CopyError> {
        self.parts.blocking_send(part).map_err(|_| nobody_listens())
    }

    /// Waits until the destination needs no more, or all items once more, which is told.
    pub(crate) async fn is_asked_again(&mut self) -> bool {
        (&mut self.again).await.is_ok()
    }

    /// Does so, and blocks.
    pub(crate) fn is_asked_again_blocking(&mut self) -> bool {
        let (_, never) = oneshot::channel();
        std::mem::replace(&mut self.again, never).blocking_recv().is_ok()
    }
}

impl Inbox {
    pub(crate) async fn recv(&mut self) -> Result<Part, CopyError> {
        self.parts.recv().await.ok_or(CopyError::Unfinished)
    }

    pub(crate) fn blocking_recv(&mut self) -> Result<Part, CopyError> {
        self.parts.blocking_recv().ok_or(CopyError::Unfinished)
    }

    /// Has all items sent once more.
    pub(crate) fn ask_again(&mut self) {
        // A source that is gone shows with the next item.
        let _ = self.again.take().map(|again| again.send(()));
    }

    /// Lets the source go: nothing more is needed of it.
    pub(crate) fn release(&mut self) {
        self.again = None;
    }

    /// Gives the next of the items that are sent once more, and leaves it there.
    pub(crate) async fn peek(&mut self) -> Option<&Item> {
        while self.left.is_empty() {
            let Some(Part::Items(items)) = self.parts.recv().await else { return None };
            self.left.extend(items);
        }
        self.left.front()
    }

    /// Does so, and blocks.
    pub(crate) fn blocking_peek(&mut self) -> Option<&Item> {
        while self.left.is_empty() {
            let Some(Part::Items(items)) = self.parts.blocking_recv() else { return None };
            self.left.extend(items);
        }
        self.left.front()
    }

    /// Takes that one away.
    pub(crate) fn pass(&mut self) {
        self.left.pop_front();
    }
}

/// What the source says when the destination has gone.
fn nobody_listens() -> CopyError {
    Error::Unavailable { reason: "the destination ended".into() }.into()
}
