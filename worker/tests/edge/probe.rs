//! A kind that tells the test what happens to it and does what the payload says.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use process::Identity;
use process::problem::Fault;
use serde_json::{Value, json};
use tokio::sync::{Semaphore, mpsc};
use worker::kind::Running;
use worker::{Attempt, Failure, Kind};

/// How long a test waits for something that should happen at once on an idle machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// What happened to an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    /// It began, in this trace.
    Started { attempt: u32, trace_id: String },
    /// It was dropped before its end.
    Stopped,
}

/// The kind `probe`: its payload `{"do": …}` is `succeed`, `fail`, `never`, `panic` or `wait`.
pub(crate) struct Probe {
    events: mpsc::UnboundedSender<Event>,
    go: Arc<Semaphore>,
    running: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

/// The test's end of a [`Probe`].
pub(crate) struct Watch {
    events: mpsc::UnboundedReceiver<Event>,
    go: Arc<Semaphore>,
    most: Arc<AtomicUsize>,
}

pub(crate) fn probe() -> (Arc<dyn Kind>, Watch) {
    let (events, seen) = mpsc::unbounded_channel();
    let go = Arc::new(Semaphore::new(0));
    let most = Arc::new(AtomicUsize::new(0));
    let kind = Probe { events, go: Arc::clone(&go), running: Arc::default(), most: Arc::clone(&most) };
    (Arc::new(kind), Watch { events: seen, go, most })
}

impl Watch {
    /// Waits for the next event.
    pub(crate) async fn next(&mut self) -> Event {
        let event = tokio::time::timeout(PATIENCE, self.events.recv()).await;
        event.expect("something happens to an attempt").expect("the probe lives")
    }

    /// Waits until an attempt begins; gives its number.
    pub(crate) async fn started(&mut self) -> u32 {
        match self.next().await {
            Event::Started { attempt, .. } => attempt,
            Event::Stopped => panic!("an attempt was stopped instead"),
        }
    }

    /// Tells whether nothing happened that was not asked for.
    pub(crate) fn is_quiet(&mut self) -> bool {
        self.events.try_recv().is_err()
    }

    /// Lets so many waiting attempts end well.
    pub(crate) fn let_end(&self, attempts: usize) {
        self.go.add_permits(attempts);
    }

    /// The most attempts that ran at a time.
    pub(crate) fn most(&self) -> usize {
        self.most.load(Ordering::SeqCst)
    }
}

struct Here<'a> {
    probe: &'a Probe,
    ended: bool,
}

impl Drop for Here<'_> {
    fn drop(&mut self) {
        self.probe.running.fetch_sub(1, Ordering::SeqCst);
        if !self.ended {
            let _ = self.probe.events.send(Event::Stopped);
        }
    }
}

impl Probe {
    async fn attempt(&self, attempt: Attempt) -> Result<Value, Failure> {
        let now = self.running.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        let mut here = Here { probe: self, ended: false };
        let trace_id = process::trace::current().map(|trace| trace.trace_id()).unwrap_or_default();
        let _ = self.events.send(Event::Started { attempt: attempt.job.attempt, trace_id });
        let ending = match attempt.job.payload["do"].as_str() {
            Some("succeed") => Ok(json!({"done": true})),
            Some("fail") => Err(Failure::passing("told to fail")),
            Some("never") => Err(Failure::never("told never to succeed")),
            Some("panic") => {
                here.ended = true;
                panic!("told to panic with a secret")
            }
            _ => {
                attempt.progress.report(0.5);
                self.go.acquire().await.expect("the semaphore is open").forget();
                Ok(json!({"waited": true}))
            }
        };
        here.ended = true;
        ending
    }
}

impl Kind for Probe {
    fn name(&self) -> &'static str {
        "probe"
    }

    fn accept(&self, payload: Value, _caller: Option<&Identity>) -> Result<Value, Vec<Fault>> {
        Ok(payload)
    }

    fn run(&self, attempt: Attempt) -> Running<'_> {
        Box::pin(self.attempt(attempt))
    }
}
