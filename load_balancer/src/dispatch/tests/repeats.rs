//! What is sent again, and where.

use super::*;

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
async fn what_backends_that_are_well_do_not_begin_is_sent_again_within_the_retries_and_the_budget() {
    on_thread(2, async |balancer| {
        // Both, and one of them a moment later.
        let met = send(&balancer, false, &[Does::Reject; 3]).await;
        assert_eq!((met.result.is_err(), met.ledger.len()), (true, 3));
        let met = send(&balancer, false, &[Does::Reject, Does::Reject, Does::Answer(1, 201)]).await;
        assert_eq!(met.result.unwrap(), 201, "as when a connection is replaced by another");
        while balancer.spend_retry() {}
        let met = send(&balancer, false, &[Does::Reject]).await;
        assert_eq!((met.result.is_err(), met.ledger.len()), (true, 1), "they have too much to do already");
    })
    .await;
}
