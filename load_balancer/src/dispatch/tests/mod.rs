//! One request's way by a script, and a ledger of what was sent where.

mod hedges;
mod repeats;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use process::Secret;
use proxy::{ForwardError, Pool};
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep};

use super::{Asked, Lane, Sent, Way, hedge};
use crate::clock::now_ns;
use crate::cluster::{Options, Upkeep};
use crate::queue::Overloaded;
use crate::selection::{Load, Policy};
use crate::view::View;
use crate::{Balancer, Cluster, Member, SendError, limit};

/// What one attempt does: after a time it gives a status, or fails. Who refuses accepts no connection, who rejects
/// does not begin the request.
#[derive(Debug, Clone, Copy)]
enum Does {
    Answer(u64, u16),
    Break(u64),
    Refuse(u64),
    Reject,
    Exhaust,
    Silent,
}

/// A lane that follows a script and keeps a ledger of what was sent where.
struct Scripted {
    script: RefCell<VecDeque<Does>>,
    ledger: RefCell<Vec<usize>>,
    given_up: Rc<RefCell<u32>>,
    is_repeatable: bool,
    was_resent: bool,
}

/// Counts attempts that were broken off.
struct UnderWay(Option<Rc<RefCell<u32>>>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        if let Some(given_up) = &self.0 {
            *given_up.borrow_mut() += 1;
        }
    }
}

impl Lane for Scripted {
    type Reply = u16;

    async fn attempt(&self, _view: &View, index: usize) -> Result<u16, ForwardError> {
        self.ledger.borrow_mut().push(index);
        let does = self.script.borrow_mut().pop_front().expect("a script as long as the way");
        let mut under_way = UnderWay(Some(Rc::clone(&self.given_up)));
        let backend = ([127, 0, 0, 1], 1).into();
        let result = match does {
            Does::Answer(after_ms, status) => {
                sleep(Duration::from_millis(after_ms)).await;
                Ok(status)
            }
            Does::Break(after_ms) => {
                sleep(Duration::from_millis(after_ms)).await;
                let reason = std::io::ErrorKind::ConnectionReset.into();
                Err(ForwardError::Broken { backend, reason })
            }
            Does::Refuse(after_ms) => {
                sleep(Duration::from_millis(after_ms)).await;
                Err(ForwardError::Connect { backend, reason: std::io::ErrorKind::ConnectionRefused.into() })
            }
            Does::Reject => {
                Err(ForwardError::Refused { backend, reason: std::io::Error::other("refused stream") })
            }
            Does::Exhaust => Err(ForwardError::Exhausted { backend, reason: std::io::Error::other("files") }),
            Does::Silent => std::future::pending().await,
        };
        under_way.0 = None;
        result
    }

    fn status(&self, reply: &u16) -> u16 {
        *reply
    }

    fn load(&self, _reply: &u16) -> Option<Load> {
        None
    }

    fn is_repeatable(&self) -> bool {
        self.is_repeatable
    }

    fn is_whole(&self) -> bool {
        true
    }

    fn was_resent(&self) -> bool {
        self.was_resent
    }

    fn latency_ns(&self, took_ns: u64) -> Option<u64> {
        Some(took_ns)
    }
}

/// What a request met.
struct Met {
    result: Result<u16, SendError>,
    ledger: Vec<usize>,
    given_up: u32,
    hedges: u32,
    queued: Duration,
    took: Duration,
}

fn options() -> Options {
    let hedge = hedge::Config { min_delay: Duration::from_millis(10), ..hedge::Config::default() };
    Options { hedge, ..Options::default() }
}

fn cluster(backends: u16, options: Options) -> Arc<Cluster> {
    let members: Vec<Member> = (1..=backends).map(|port| Member::new(format!("127.0.0.1:{port}"))).collect();
    Cluster::new("test", members, options)
}

/// Has a backend give answers of a millisecond, by which it is known what is late.
fn give_answers(cluster: &Cluster, answers: u32) {
    let now = now_ns();
    let backend = Arc::clone(&cluster.members().backends[0]);
    for _ in 0..answers {
        backend.begin(now).note_response(200, Some(1_000_000), now);
    }
    // What is usual is found out once a second.
    cluster.look_after(&mut Upkeep::default(), now + 1_000_000_000);
}

async fn send(balancer: &Balancer, is_repeatable: bool, script: &[Does]) -> Met {
    send_by(balancer, is_repeatable, false, script).await
}

async fn send_by(balancer: &Balancer, is_repeatable: bool, was_resent: bool, script: &[Does]) -> Met {
    send_asking(balancer, Asked::default(), is_repeatable, was_resent, script).await
}

async fn send_asking(
    balancer: &Balancer,
    asked: Asked,
    is_repeatable: bool,
    was_resent: bool,
    script: &[Does],
) -> Met {
    let lane = Scripted {
        script: RefCell::new(script.iter().copied().collect()),
        ledger: RefCell::default(),
        given_up: Rc::default(),
        is_repeatable,
        was_resent,
    };
    let began = Instant::now();
    let mut way = Way::new(balancer, balancer.view(), &lane, asked, 2);
    let result = way.go().await.map(|Sent { reply, .. }| reply);
    let hedges = way.story.hedges;
    let queued = Duration::from_nanos(way.story.queue_ns);
    drop(way);
    let given_up = *lane.given_up.borrow();
    Met { result, ledger: lane.ledger.into_inner(), given_up, hedges, queued, took: began.elapsed() }
}

async fn on_thread<T>(backends: u16, run: impl AsyncFnOnce(Balancer) -> T) -> T {
    on_thread_with(backends, options(), run).await
}

async fn on_thread_with<T>(backends: u16, options: Options, run: impl AsyncFnOnce(Balancer) -> T) -> T {
    let cluster = cluster(backends, options);
    LocalSet::new().run_until(async { run(Balancer::new(cluster, Pool::default())).await }).await
}
