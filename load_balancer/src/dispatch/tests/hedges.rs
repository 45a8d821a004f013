//! What is late and what queues; and who stays where it belongs.

use super::*;

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
