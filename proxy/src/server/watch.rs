//! The open connections of one thread: counted, timed and told to end, without a timer each.
//!
//! A timer a request would cost more than the rest of this file; instead each connection notes where it
//! stands, and once a second the thread looks at all of them.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::task::Waker;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::addresses::Place;
use super::{Limits, streams};

/// How often the connections are looked at. Since when one stands where it does is known as exactly, so that much
/// is added to each limit: a timeout may come so late, and never early.
pub(super) const TICK: Duration = Duration::from_secs(1);

/// How a connection is told to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// To go on.
    Serve,
    /// To finish the request in flight and close.
    Drain,
    /// To say that the head of a request took too long, and close; given once before the last.
    Refuse,
    /// To close at once.
    Close,
}

/// Where a connection stands. Atomics, because hyper asks sockets that can be upgraded to be `Send`.
#[derive(Debug, Default)]
pub(crate) struct Standing {
    requests: AtomicU32,
    head_begun: AtomicBool,
    has_asked: AtomicBool,
    /// The client is to be told that its head took too long.
    is_refused: AtomicBool,
    since_ms: AtomicU64,
    /// Since when the client has taken nothing of what it is sent, plus 1; 0 while it does.
    stuck_since_ms: AtomicU64,
    /// Since when an HTTP/2 header block has not ended, plus 1; 0 outside one.
    block_since_ms: AtomicU64,
    /// Whether an HTTP/2 client has sent anything since someone asked.
    was_heard: AtomicBool,
    /// Responses the client has had whole, until someone asks.
    whole: AtomicU32,
    now_ms: Arc<AtomicU64>,
}

impl Standing {
    /// Notes bytes from the client, which outside a request begin the head of one.
    pub(crate) fn note_bytes(&self) {
        if self.requests.load(Relaxed) == 0 && !self.head_begun.load(Relaxed) {
            self.head_begun.store(true, Relaxed);
            self.since_ms.store(self.now_ms.load(Relaxed), Relaxed);
        }
    }

    /// Notes that a request has arrived.
    pub(crate) fn note_request(&self) {
        // Only the connection's own thread writes; a plain add would do.
        self.requests.fetch_add(1, Relaxed);
        self.head_begun.store(false, Relaxed);
        self.has_asked.store(true, Relaxed);
    }

    /// Tells whether the connection has brought a whole head of a request yet.
    pub(crate) fn has_asked(&self) -> bool {
        self.has_asked.load(Relaxed)
    }

    /// Tells whether the client is to be told that its head took too long, unless it has come after all.
    pub(super) fn is_refused(&self) -> bool {
        self.is_refused.load(Relaxed) && self.requests.load(Relaxed) == 0
    }

    /// Notes that a response has ended.
    pub(crate) fn note_response(&self) {
        self.requests.fetch_sub(1, Relaxed);
        self.since_ms.store(self.now_ms.load(Relaxed), Relaxed);
    }

    /// Gives the time since the thread's start, exact to a tick.
    pub(crate) fn now_ms(&self) -> u64 {
        self.now_ms.load(Relaxed)
    }

    /// Forgets that a head has begun: what has come was something else.
    pub(super) fn forget_head(&self) {
        self.head_begun.store(false, Relaxed);
        self.since_ms.store(self.now_ms(), Relaxed);
    }

    /// Notes whether the client took something of what it is sent.
    pub(crate) fn note_write(&self, was_taken: bool) {
        let stuck = self.stuck_since_ms.load(Relaxed);
        if was_taken != (stuck == 0) {
            self.stuck_since_ms.store(if was_taken { 0 } else { self.now_ms() + 1 }, Relaxed);
        }
    }

    /// Notes whether an HTTP/2 header block has begun and not ended.
    pub(super) fn note_header_block(&self, is_open: bool) {
        let open = self.block_since_ms.load(Relaxed);
        if is_open != (open != 0) {
            self.block_since_ms.store(if is_open { self.now_ms() + 1 } else { 0 }, Relaxed);
        }
    }

    /// Notes that something came from an HTTP/2 client.
    pub(crate) fn note_heard(&self) {
        self.was_heard.store(true, Relaxed);
    }

    /// Tells whether anything came since this was asked last.
    pub(crate) fn take_heard(&self) -> bool {
        self.was_heard.swap(false, Relaxed)
    }

    /// Notes that the client has had a response whole.
    pub(super) fn note_whole(&self) {
        self.whole.fetch_add(1, Relaxed);
    }

    /// Gives how many responses the client has had whole since this was asked last.
    pub(super) fn take_whole(&self) -> u32 {
        self.whole.swap(0, Relaxed)
    }

    fn is_overdue(&self, limits: &Limits) -> bool {
        let is_over = |since_ms: u64, limit: Duration| {
            u128::from(self.now_ms().saturating_sub(since_ms)) >= (limit + TICK).as_millis()
        };
        let is_long = |since_ms: &AtomicU64, limit| {
            since_ms.load(Relaxed).checked_sub(1).is_some_and(|at| is_over(at, limit))
        };
        if is_long(&self.stuck_since_ms, limits.body_idle_timeout)
            || is_long(&self.block_since_ms, limits.header_timeout)
        {
            return true;
        }
        if self.requests.load(Relaxed) > 0 {
            return false;
        }
        let limit = if self.head_begun.load(Relaxed) { limits.header_timeout } else { limits.idle_timeout };
        is_over(self.since_ms.load(Relaxed), limit)
    }

    /// Tells whether the client has begun a request's head, of HTTP/1, and is asked for nothing else.
    fn is_in_head(&self) -> bool {
        self.requests.load(Relaxed) == 0 && self.head_begun.load(Relaxed)
    }
}

/// One connection in the registry.
#[derive(Debug)]
struct Entry {
    standing: Arc<Standing>,
    order: Cell<Order>,
    waker: RefCell<Option<Waker>>,
}

/// The open connections of one thread.
#[derive(Debug)]
pub(super) struct Registry {
    limits: Limits,
    started: Instant,
    now_ms: Arc<AtomicU64>,
    entries: RefCell<HashMap<u64, Rc<Entry>>>,
    next: Cell<u64>,
    left: Notify,
    is_leaving: Cell<bool>,
}

/// A connection's place in the registry, given back when dropped.
#[derive(Debug)]
pub(crate) struct Watched {
    registry: Rc<Registry>,
    number: u64,
    entry: Rc<Entry>,
    place: Option<Place>,
}

impl Registry {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            started: Instant::now(),
            now_ms: Arc::default(),
            entries: RefCell::default(),
            next: Cell::new(0),
            left: Notify::new(),
            is_leaving: Cell::new(false),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.borrow().len()
    }

    /// Waits until another connection may be accepted.
    pub(super) async fn has_place(&self) {
        while self.len() >= self.limits.connections {
            self.left.notified().await;
        }
    }

    pub(super) fn enter(registry: &Rc<Self>) -> Watched {
        let number = registry.next.get();
        registry.next.set(number + 1);
        let standing = Standing { now_ms: Arc::clone(&registry.now_ms), ..Standing::default() };
        standing.since_ms.store(registry.now_ms.load(Relaxed), Relaxed);
        let entry = Rc::new(Entry {
            standing: Arc::new(standing),
            order: Cell::new(Order::Serve),
            waker: RefCell::default(),
        });
        registry.entries.borrow_mut().insert(number, Rc::clone(&entry));
        Watched { registry: Rc::clone(registry), number, entry, place: None }
    }

    /// Has every connection finish its present request, or else the next one, and close.
    ///
    /// A client may ask again while its idle connection is closed, and would not learn whether it was heard;
    /// where another process accepts connections, there is time to tell it with an answer.
    pub(super) fn leave(&self) {
        self.is_leaving.set(true);
        self.entries.borrow().values().for_each(|entry| entry.wake());
    }

    /// Tells every connection to finish what it has and close.
    pub(super) fn drain(&self) {
        for entry in self.entries.borrow().values() {
            if entry.order.get() == Order::Serve {
                entry.give(Order::Drain);
            }
        }
    }

    /// Closes the connections that were idle, or sent a head, for too long; the latter have until the next look
    /// to be told so (RFC 9110 §15.5.9).
    pub(super) fn close_overdue(&self) {
        let now_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.now_ms.store(now_ms, Relaxed);
        streams::end_stalled(now_ms, self.limits.body_idle_timeout + TICK);
        for entry in self.entries.borrow().values() {
            if !entry.standing.is_overdue(&self.limits) {
                continue;
            }
            if entry.standing.is_in_head() && !matches!(entry.order.get(), Order::Refuse | Order::Close) {
                entry.standing.is_refused.store(true, Relaxed);
                entry.give(Order::Refuse);
            } else {
                entry.give(Order::Close);
            }
        }
    }
}

impl Entry {
    fn give(&self, order: Order) {
        self.order.set(order);
        self.wake();
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.borrow().as_ref() {
            waker.wake_by_ref();
        }
    }
}

impl Watched {
    pub(crate) fn standing(&self) -> &Arc<Standing> {
        &self.entry.standing
    }

    /// Keeps its place among the connections of its address for as long as it lives.
    pub(super) fn keep(&mut self, place: Option<Place>) {
        self.place = place;
    }

    /// Tells whether it is to go on.
    pub(crate) fn is_serving(&self) -> bool {
        self.present() == Order::Serve
    }

    /// Gives the present order and, from the first call on, wakes the task when it changes.
    pub(crate) fn order(&self, waker: &Waker) -> Order {
        if self.entry.waker.borrow().is_none() {
            *self.entry.waker.borrow_mut() = Some(waker.clone());
        }
        self.present()
    }

    /// Gives the present order.
    pub(super) fn present(&self) -> Order {
        let is_leaving = self.registry.is_leaving.get() && self.standing().requests.load(Relaxed) > 0;
        match self.entry.order.get() {
            Order::Serve if is_leaving => Order::Drain,
            order => order,
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.registry.entries.borrow_mut().remove(&self.number);
        self.registry.left.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_that_leaves_is_drained_with_its_next_request_and_not_before() {
        let registry = Rc::new(Registry::new(Limits::default()));
        let (idle, busy) = (Registry::enter(&registry), Registry::enter(&registry));
        let waker = Waker::noop();
        busy.standing().note_request();
        assert_eq!((idle.order(waker), busy.order(waker)), (Order::Serve, Order::Serve));
        registry.leave();
        assert_eq!((idle.order(waker), busy.order(waker)), (Order::Serve, Order::Drain));
        idle.standing().note_request();
        assert_eq!(idle.order(waker), Order::Drain);
        assert!(!idle.is_serving(), "its answer says that the connection closes");
    }

    #[test]
    fn a_client_that_takes_nothing_is_overdue_and_one_that_takes_little_is_not() {
        let limits = Limits { body_idle_timeout: Duration::from_secs(60), ..Limits::default() };
        let standing = Standing::default();
        let at = |seconds: u64| standing.now_ms.store(seconds * 1000, Relaxed);
        standing.note_request();
        standing.note_write(false);
        at(59);
        standing.note_write(true);
        standing.note_write(false);
        at(119);
        assert!(!standing.is_overdue(&limits));
        standing.note_write(false);
        at(120);
        assert!(standing.is_overdue(&limits));
    }

    #[test]
    fn a_slow_header_block_is_overdue_beside_streams_that_move() {
        let limits = Limits { header_timeout: Duration::from_secs(10), ..Limits::default() };
        let standing = Standing::default();
        standing.note_request();
        standing.note_header_block(true);
        standing.now_ms.store(10_999, Relaxed);
        standing.note_header_block(true);
        assert!(!standing.is_overdue(&limits));
        standing.now_ms.store(11_000, Relaxed);
        assert!(standing.is_overdue(&limits));
        standing.note_header_block(false);
        assert!(!standing.is_overdue(&limits));
    }

    #[test]
    fn a_slow_head_is_overdue_before_an_idle_connection_and_a_request_never() {
        let limits = Limits {
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
            ..Limits::default()
        };
        let standing = Standing::default();
        let at = |seconds: u64| standing.now_ms.store(seconds * 1000, Relaxed);
        at(74);
        assert!(!standing.is_overdue(&limits));
        standing.note_bytes();
        at(84);
        standing.note_bytes();
        assert!(!standing.is_overdue(&limits));
        at(85);
        assert!(standing.is_overdue(&limits), "further bytes do not extend the time of a head");
        standing.note_request();
        at(10_000);
        assert!(!standing.is_overdue(&limits));
        standing.note_response();
        assert!(!standing.is_overdue(&limits));
        at(10_076);
        assert!(standing.is_overdue(&limits));
    }

    #[test]
    fn what_began_just_before_a_look_has_all_of_its_time() {
        let limits = Limits { header_timeout: Duration::from_secs(1), ..Limits::default() };
        let standing = Standing::default();
        // Just before the look of the second 9, hence noted as of 8.
        standing.now_ms.store(8_000, Relaxed);
        standing.note_bytes();
        standing.now_ms.store(9_000, Relaxed);
        assert!(!standing.is_overdue(&limits), "a moment has passed");
        standing.now_ms.store(10_000, Relaxed);
        assert!(standing.is_overdue(&limits));
    }
}
