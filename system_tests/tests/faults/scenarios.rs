//! The faults, with light backends.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::ledger::Hole;
use crate::scenario::{Behind, run};

/// What recovery may take once backends are back: `rise` probes, 200 ms apart, a timeout of one before them,
/// and slack for a machine that is busy.
const RECOVERY: Duration = Duration::from_millis(2000);

/// What noticing may take: `fall` probes, 200 ms apart, that are refused at once, and the same slack.
const NOTICE: Duration = Duration::from_millis(1500);

#[test]
fn a_backend_killed_under_load_costs_no_idempotent_request() {
    run("SIGKILL one of five", Behind::Light, "", |stage| {
        stage.backends[2].kill();
        stage.play_for(Duration::from_secs(2));
        stage.backends[2].start_again();
        stage.wait_until_asked(2);
    });
}

#[test]
#[ignore = "waits for hedging and ejection"]
fn a_backend_stopped_under_load_costs_no_idempotent_request() {
    run("SIGSTOP one of five", Behind::Light, "", |stage| {
        stage.backends[1].signal(Signal::STOP);
        // Longer than a client waits.
        stage.play_for(Duration::from_secs(4));
        stage.backends[1].signal(Signal::CONT);
        stage.wait_until_asked(1);
    });
}

#[test]
fn when_all_backends_are_down_requests_are_refused_at_once_and_served_soon_after() {
    run("all down and back", Behind::Light, "", |stage| {
        let from = Instant::now();
        stage.backends.iter_mut().for_each(|backend| backend.kill());
        let known = from + NOTICE;
        stage.play_for(2 * NOTICE);
        let back = Instant::now();
        stage.backends.iter_mut().for_each(|backend| backend.start_again());
        stage.hole = Some(Hole { from, known, back, recovered: Instant::now() + RECOVERY });
        stage.play_for(RECOVERY);
        stage.wait_for_answers(1000);
    });
}

#[test]
fn a_rolling_restart_of_all_backends_costs_no_idempotent_request() {
    run("rolling restart of five", Behind::Light, "", |stage| {
        for index in 0..5 {
            stage.backends[index].stop();
            stage.backends[index].start_again();
            stage.wait_until_asked(index);
        }
    });
}
