//! Requests that wait for a place, in an outage too, and those that are refused.

use super::*;

#[test]
fn more_than_the_total_are_refused_at_once() {
    let mut options = Options::default();
    options.limit.total = 2;
    let cluster = cluster_of(1, options);
    let first = cluster.admit().unwrap();
    let _second = cluster.admit().unwrap();
    assert_eq!(cluster.admit().unwrap_err(), Overloaded::TotalLimit);
    drop(first);
    assert!(cluster.admit().is_ok());
    assert_eq!(cluster.counters().shed[0].load(Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn who_finds_every_backend_at_its_limit_waits_for_the_next_place() {
    let mut options = Options::default();
    (options.limit.min, options.limit.initial) = (1, 1);
    let cluster = cluster_of(1, options);
    let only = backend(&cluster, 0);
    let request = only.try_begin(1).unwrap();
    assert!(only.try_begin(1).is_none());
    let mut ticket = cluster.join_queue(1).unwrap();
    assert_eq!(cluster.waiting(), 1);
    tokio::select! {
        biased;
        _ = ticket.turn() => panic!("there is no place yet"),
        () = tokio::time::sleep(Duration::from_millis(100)) => {}
    }
    drop(request);
    ticket.turn().await.unwrap();
    let _place = only.try_begin(2).unwrap();
    ticket.leave();
    assert!(!cluster.has_queue());
}

#[tokio::test(start_paused = true)]
async fn in_an_outage_requests_wait_for_the_first_backend_back_and_not_for_ever() {
    let cluster = cluster_of(2, Options::default());
    probe(&cluster, 0, Finding::Refused, SECOND);
    probe(&cluster, 1, Finding::Refused, SECOND);
    assert!(!cluster.is_available());
    let mut ticket = cluster.join_queue(SECOND + 1).unwrap();
    let back = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        probe(&cluster, 1, Finding::Good, 2 * SECOND);
    };
    let (woken, ()) = tokio::join!(ticket.turn(), back);
    assert_eq!(woken, Ok(()));
    assert_eq!(available(&cluster), [false, true]);
    probe(&cluster, 1, Finding::Refused, 10 * SECOND);
    assert_eq!(cluster.join_queue(14 * SECOND).unwrap_err(), Overloaded::WaitedTooLong);
}

#[tokio::test(start_paused = true)]
async fn an_outage_that_ends_leaves_those_who_waited_time_to_find_a_place() {
    let mut options = Options::default();
    (options.limit.min, options.limit.initial) = (1, 1);
    let cluster = cluster_of(1, options);
    probe(&cluster, 0, Finding::Refused, SECOND);
    // The outage is nearly as long as anybody waits.
    let mut tickets: Vec<_> = (0..3).map(|_| cluster.join_queue(4 * SECOND - 1).unwrap()).collect();
    probe(&cluster, 0, Finding::Good, 4 * SECOND);
    tokio::time::sleep(Duration::from_millis(100)).await;
    let waker = std::task::Waker::noop();
    let mut cx = std::task::Context::from_waker(waker);
    let told = tickets.iter_mut().filter_map(|one| match std::pin::pin!(one.turn()).poll(&mut cx) {
        std::task::Poll::Ready(told) => Some(told),
        std::task::Poll::Pending => None,
    });
    assert_eq!(told.collect::<Vec<_>>(), [Ok(())], "one for the one place, and nobody gave up");
}
