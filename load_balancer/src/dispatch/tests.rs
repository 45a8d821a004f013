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

/// What one attempt does: after a time it gives a status, or fails.
#[derive(Debug, Clone, Copy)]
enum Does {
    Answer(u64, u16),
    Break(u64),
    Refuse(u64),
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

#[tokio::test(start_paused = true)]
async fn what_may_be_repeated_is_sent_elsewhere_when_a_connection_breaks() {
    on_thread(3, async |balancer| {
        let met = send(&balancer, true, &[Does::Break(1), Does::Answer(1, 200)]).await;
        assert_eq!(met.result.unwrap(), 200);
        assert_ne!(met.ledger[0], met.ledger[1], "on another backend");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn no_backend_that_breaks_connections_gets_a_request_a_third_time() {
    on_thread(1, async |balancer| {
        let met = send(&balancer, true, &[Does::Break(1), Does::Break(1)]).await;
        assert_eq!((met.result.is_err(), met.ledger), (true, vec![0, 0]));
        let met = send_by(&balancer, true, true, &[Does::Break(1)]).await;
        assert_eq!((met.result.is_err(), met.ledger.len()), (true, 1), "the lane had sent it twice");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_may_not_be_repeated_is_not_once_it_was_sent() {
    on_thread(3, async |balancer| {
        let met = send(&balancer, false, &[Does::Break(1)]).await;
        assert!(matches!(met.result, Err(SendError::Failed(_))));
        let met = send(&balancer, false, &[Does::Answer(1, 503)]).await;
        assert_eq!((met.result.unwrap(), met.ledger.len()), (503, 1));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_was_not_sent_goes_elsewhere_whatever_it_is() {
    on_thread(3, async |balancer| {
        let met = send(&balancer, false, &[Does::Refuse(0), Does::Refuse(0), Does::Answer(1, 201)]).await;
        assert_eq!((met.result.unwrap(), met.ledger.len()), (201, 3));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_may_not_be_repeated_is_not_hedged_after_a_first_backend_refused_it() {
    on_thread(3, async |balancer| {
        give_answers(balancer.cluster(), 200);
        // What is late goes by the system's clock, which passes while the runtime's is paused.
        let busy = async {
            sleep(Duration::from_millis(20)).await;
            std::thread::sleep(Duration::from_millis(20));
        };
        let script = [Does::Refuse(0), Does::Answer(900, 201)];
        let (met, ()) = tokio::join!(send(&balancer, false, &script), busy);
        assert_eq!((met.result.unwrap(), met.ledger.len(), met.hedges), (201, 2, 0), "late, and waited for");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_may_not_be_repeated_is_waited_for_where_its_second_backend_is_lost() {
    on_thread(3, async |balancer| {
        let lost = async {
            sleep(Duration::from_millis(250)).await;
            let now = now_ns();
            // All but an idle third one, which would have it else.
            for backend in balancer.view().backends().iter().filter(|backend| backend.report().in_flight > 0)
            {
                (0..2).for_each(|_| backend.note_connect_failure(now));
                assert!(backend.is_lost());
            }
        };
        let (met, ()) =
            tokio::join!(send(&balancer, false, &[Does::Refuse(0), Does::Answer(900, 201)]), lost);
        assert_eq!((met.result.unwrap(), met.ledger.len()), (201, 2), "it may be acted on");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_all_backends_refused_waits_a_moment_and_is_sent_again() {
    on_thread(3, async |balancer| {
        let refused = [Does::Refuse(0), Does::Refuse(0), Does::Refuse(0)];
        let met = send(&balancer, false, &[&refused[..], &[Does::Answer(1, 201)]].concat()).await;
        assert_eq!((met.result.unwrap(), met.ledger.len()), (201, 4));
    })
    .await;
    on_thread(3, async |balancer| {
        let script: Vec<Does> = (0..4).map(|_| Does::Refuse(0)).chain([Does::Answer(1, 200)]).collect();
        let met = send(&balancer, true, &script).await;
        assert_eq!(met.result.unwrap(), 200, "and again, if that one refuses too");
    })
    .await;
    on_thread(3, async |balancer| {
        let met = send(&balancer, true, &[Does::Break(1), Does::Break(1), Does::Break(1)]).await;
        assert!(matches!(met.result, Err(SendError::Failed(_))), "the request itself may break them");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_everywhere_is_sent_again_for_as_long_as_an_outage_is_waited_out_and_no_longer() {
    on_thread(10, async |balancer| {
        let script: Vec<Does> = (0..12).map(|_| Does::Refuse(0)).chain([Does::Answer(1, 201)]).collect();
        let met = send(&balancer, false, &script).await;
        assert_eq!((met.result.unwrap(), met.ledger.len()), (201, 13));
    })
    .await;
    on_thread(60, async |balancer| {
        let met = send(&balancer, false, &[Does::Refuse(0); 60]).await;
        assert!(matches!(met.result, Err(SendError::Failed(_))));
        // `outage_wait`, and the pause that had begun.
        assert!((3000..3200).contains(&met.took.as_millis()), "{:?}", met.took);
        assert!((25..=35).contains(&met.ledger.len()), "{}", met.ledger.len());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_this_process_has_no_descriptor_for_is_held_against_no_backend_and_refused_at_once() {
    on_thread(2, async |balancer| {
        let met = send(&balancer, true, &[Does::Exhaust, Does::Answer(1, 200)]).await;
        assert_eq!(
            (met.result.unwrap(), met.ledger.len()),
            (200, 2),
            "another may have a connection that is kept"
        );
        for _ in 0..20 {
            let met = send(&balancer, true, &[Does::Exhaust; 3]).await;
            let problem = met.result.unwrap_err().problem();
            assert_eq!((problem.kind().status, met.took), (503, Duration::ZERO));
        }
        let view = balancer.view();
        let reports = view.backends().iter().map(|backend| backend.report());
        assert!(reports.into_iter().all(|report| report.errors == 0 && report.available));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_burdened_no_backend_is_sent_again_whatever_the_budget() {
    on_thread(3, async |balancer| {
        while balancer.spend_retry() {}
        let met = send(&balancer, false, &[Does::Refuse(0), Does::Answer(1, 201)]).await;
        assert_eq!(met.result.unwrap(), 201);
        while balancer.spend_retry() {}
        let met = send(&balancer, true, &[Does::Break(0)]).await;
        assert!(matches!(met.result, Err(SendError::Failed(_))), "a backend had that one");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_says_it_did_nothing_is_not_the_last_word() {
    on_thread(3, async |balancer| {
        let met = send(&balancer, true, &[Does::Answer(1, 503), Does::Answer(1, 200)]).await;
        assert_eq!(met.result.unwrap(), 200);
        let met = send(&balancer, true, &[Does::Answer(1, 503), Does::Break(1), Does::Break(1)]).await;
        assert_eq!(met.result.unwrap(), 503, "an answer tells more than none");
        let met = send(&balancer, true, &[Does::Answer(1, 500)]).await;
        assert_eq!((met.result.unwrap(), met.ledger.len()), (500, 1), "it would be the same elsewhere");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_slow_answer_is_asked_for_again_and_the_loser_is_broken_off() {
    on_thread(3, async |balancer| {
        give_answers(balancer.cluster(), 100);
        let met = send(&balancer, true, &[Does::Silent, Does::Answer(1, 200)]).await;
        assert_eq!((met.result.unwrap(), met.hedges, met.given_up), (200, 1, 1));
        assert!(met.took < Duration::from_secs(1), "{:?}", met.took);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_first_may_still_win_after_a_hedge() {
    on_thread(3, async |balancer| {
        give_answers(balancer.cluster(), 100);
        let met = send(&balancer, true, &[Does::Answer(150, 200), Does::Silent]).await;
        assert_eq!((met.result.unwrap(), met.hedges, met.given_up), (200, 1, 1));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_may_not_be_repeated_is_waited_for() {
    on_thread(3, async |balancer| {
        give_answers(balancer.cluster(), 100);
        let met = send(&balancer, false, &[Does::Answer(5_000, 201)]).await;
        assert_eq!((met.result.unwrap(), met.hedges, met.ledger.len()), (201, 0, 1));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn hedges_keep_to_their_budget() {
    on_thread(3, async |balancer| {
        give_answers(balancer.cluster(), 100);
        let mut hedges = 0;
        for _ in 0..2000 {
            hedges += send(&balancer, true, &[Does::Answer(150, 200), Does::Silent]).await.hedges;
        }
        // A twentieth, and what was saved.
        assert!((100..=150).contains(&hedges), "{hedges}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_late_request_is_hedged_once_others_answer_in_half_of_what_it_waited() {
    on_thread(2, async |balancer| {
        give_answers(balancer.cluster(), 100);
        for (script, hedges, took_ms) in
            [(&[Does::Answer(59, 200)][..], 0, 59..60), (&[Does::Silent, Does::Answer(1, 200)], 1, 60..100)]
        {
            // All are slow by now, since so much is asked.
            for backend in &balancer.cluster().members().backends {
                for at in (0..32).map(|answer| now_ns() + answer * 10_000_000) {
                    backend.begin(at).note_response(200, Some(30_000_000), at);
                }
            }
            let met = send(&balancer, true, script).await;
            assert_eq!((met.result.unwrap(), met.hedges), (200, hedges));
            assert!(took_ms.contains(&met.took.as_millis()), "{:?}", met.took);
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn nothing_is_hedged_where_hedging_is_off_or_nothing_is_known_of_what_is_usual() {
    let hedge = hedge::Config { enabled: false, ..hedge::Config::default() };
    on_thread_with(3, Options { hedge, ..options() }, async |balancer| {
        give_answers(balancer.cluster(), 100);
        let met = send(&balancer, true, &[Does::Answer(5_000, 200)]).await;
        assert_eq!((met.result.unwrap(), met.ledger.len()), (200, 1), "off");
    })
    .await;
    on_thread(3, async |balancer| {
        let met = send(&balancer, true, &[Does::Answer(5_000, 200)]).await;
        assert_eq!((met.result.unwrap(), met.ledger.len()), (200, 1), "it may always take so long");
        give_answers(balancer.cluster(), 5);
        let met = send(&balancer, true, &[Does::Silent, Does::Answer(1, 200)]).await;
        assert_eq!((met.result.unwrap(), met.hedges), (200, 1));
        assert!((100..150).contains(&met.took.as_millis()), "five answers are few: {:?}", met.took);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_hedge_takes_no_place_beyond_a_limit() {
    let limit = limit::Config { initial: 1, min: 1, max: 1, ..limit::Config::default() };
    on_thread_with(2, Options { limit, ..options() }, async |balancer| {
        give_answers(balancer.cluster(), 100);
        let busy = balancer.view().backend(0).begin(now_ns());
        let met = send(&balancer, true, &[Does::Answer(500, 200)]).await;
        assert_eq!((met.result.unwrap(), met.ledger), (200, vec![1]));
        drop(busy);
        let met = send(&balancer, true, &[Does::Silent, Does::Answer(1, 200)]).await;
        assert_eq!((met.result.unwrap(), met.hedges), (200, 1));
    })
    .await;
}

#[tokio::test]
async fn a_request_that_waited_in_vain_tells_how_long() {
    let queue_wait = Duration::from_millis(30);
    let limit = limit::Config { initial: 1, min: 1, max: 1, queue_wait, ..limit::Config::default() };
    on_thread_with(1, Options { limit, ..options() }, async |balancer| {
        let _busy = balancer.view().backend(0).begin(now_ns());
        let met = send(&balancer, true, &[]).await;
        assert!(matches!(met.result, Err(SendError::Overloaded(Overloaded::WaitedTooLong))));
        assert!(met.queued >= queue_wait, "{:?}", met.queued);
    })
    .await;
}

/// Runs with a policy that takes requests where they belong; `asked` of one belongs to the first backend.
async fn on_thread_at_home(is_sticky: bool, run: impl AsyncFnOnce(Balancer, Asked)) {
    let policy = if is_sticky { Policy::StickyCookie { cookie: "at".to_owned() } } else { Policy::IpHash };
    let sticky_secret = is_sticky.then(|| Secret::new("a secret of the test"));
    on_thread_with(3, Options { policy, sticky_secret, ..options() }, async |balancer| {
        let key =
            (0..u64::MAX).find(|key| balancer.view().table().is_none_or(|table| table.get(*key) == Some(0)));
        let asked = Asked { key: key.filter(|_| !is_sticky), sticky: is_sticky.then_some(0) };
        run(balancer, asked).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_is_where_it_belongs_is_not_hedged() {
    for is_sticky in [true, false] {
        on_thread_at_home(is_sticky, async |balancer, asked| {
            give_answers(balancer.cluster(), 200);
            let busy = async {
                sleep(Duration::from_millis(20)).await;
                std::thread::sleep(Duration::from_millis(20));
            };
            let script = [Does::Answer(900, 200), Does::Answer(1, 200)];
            let sending = send_asking(&balancer, asked, true, false, &script);
            let (met, ()) = tokio::join!(sending, busy);
            assert_eq!((met.result.unwrap(), met.ledger, met.hedges), (200, vec![0], 0), "{is_sticky}");
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_with_a_cookie_hears_what_its_own_backend_says_and_another_s_once_that_is_out() {
    on_thread_at_home(true, async |balancer, asked| {
        let met = send_asking(&balancer, asked, true, false, &[Does::Answer(1, 503)]).await;
        assert_eq!((met.result.unwrap(), met.ledger), (503, vec![0]));
        let script = [Does::Break(1), Does::Answer(1, 200)];
        let met = send_asking(&balancer, asked, true, false, &script).await;
        assert_eq!((met.result.unwrap(), met.ledger), (200, vec![0, 0]), "asked once more");
        let script = [Does::Refuse(0), Does::Answer(1, 200)];
        let met = send_asking(&balancer, asked, true, false, &script).await;
        assert_eq!((met.result.unwrap(), met.ledger[0]), (200, 0));
        assert_ne!(met.ledger[1], 0, "elsewhere");
    })
    .await;
    on_thread_at_home(false, async |balancer, asked| {
        let script = [Does::Answer(1, 503), Does::Answer(1, 200)];
        let met = send_asking(&balancer, asked, true, false, &script).await;
        assert_eq!((met.result.unwrap(), met.ledger.len()), (200, 2), "a key has no session");
    })
    .await;
}
