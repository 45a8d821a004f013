//! The faults, with light backends.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use system_tests::{balancer_config, wait_for_end};

use crate::backends::wait_until;
use crate::ledger::Hole;
use crate::scenario::{BALANCER, Behind, RATE, run, run_at};

/// What recovery may take once backends are back: `rise` probes, 200 ms apart, a timeout of one before them,
/// and slack for a machine that is busy.
const RECOVERY: Duration = Duration::from_millis(2000);

/// Sections that let a second process take the listeners over, in a folder beside the config file.
const HANDOVER: &str = "[process]\nhandover = \"run\"\n";

/// How long requests wait after the last backend was lost (`load_balancer.limit.outage_wait`).
const OUTAGE_WAIT: Duration = Duration::from_secs(3);

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
fn a_backend_stopped_under_load_costs_no_idempotent_request() {
    run("SIGSTOP one of five", Behind::Light, "", |stage| {
        stage.backends[1].signal(Signal::STOP);
        // Longer than a client waits.
        stage.play_for(Duration::from_secs(6));
        stage.backends[1].signal(Signal::CONT);
        stage.wait_until_asked(1);
    });
}

#[test]
fn requests_outwait_a_moment_without_any_backend() {
    run("all down and back", Behind::Light, "", |stage| {
        stage.backends.iter_mut().for_each(|backend| backend.kill());
        // At 3,000 a second as many wait as the queue has places for (4,096), and shorter than `outage_wait`.
        stage.play_for(Duration::from_secs(1));
        stage.backends.iter_mut().for_each(|backend| backend.start_again());
        stage.wait_for_answers(2000);
    });
}

#[test]
fn when_all_backends_stay_down_requests_are_refused_and_served_soon_after_they_are_back() {
    // All who wait are told at the same moment that it was in vain: thousands of them are more than a debug build of
    // the load itself takes in beside other tests, and then it is the client that has no time for answers.
    run_at(RATE / 4, "all down for longer than requests wait", Behind::Light, "", |stage| {
        let from = Instant::now();
        stage.backends.iter_mut().for_each(|backend| backend.kill());
        let known = from + NOTICE;
        stage.play_for(OUTAGE_WAIT + 2 * NOTICE);
        let back = Instant::now();
        stage.backends.iter_mut().for_each(|backend| backend.start_again());
        stage.hole = Some(Hole { from, known, back, recovered: Instant::now() + RECOVERY });
        stage.play_for(RECOVERY);
        stage.wait_for_answers(250);
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

#[test]
fn a_reload_under_load_costs_no_request_at_all() {
    run("reload on SIGHUP", Behind::Light, "", |stage| {
        stage.is_harmless = true;
        let all: Vec<SocketAddr> = stage.backends.iter().map(|backend| backend.address()).collect();
        for turn in 0..6 {
            // The last backend leaves and comes back; the policy changes with it.
            let (left, policy) = if turn % 2 == 0 { (4, "least_request") } else { (5, "peak_ewma") };
            let keys = format!("policy = \"{policy}\"\n{BALANCER}");
            let text = balancer_config(stage.balancer.address, &all[..left], &keys);
            std::fs::write(stage.balancer.config_file(), text).expect("the config file");
            stage.balancer.signal(Signal::HUP);
            wait_until("the change is in force", || stage.balancer.count_backends() == Some(left));
            stage.wait_for_answers(300);
        }
    });
}

#[test]
fn a_handover_of_the_balancer_costs_no_request_at_all() {
    run("binary handover of the balancer", Behind::Light, HANDOVER, |stage| {
        stage.is_harmless = true;
        for _ in 0..2 {
            let mut first = stage.balancer.start_successor();
            assert!(wait_for_end(&mut first).success(), "{}", stage.balancer.log());
            assert!(stage.balancer.is_running(), "{}", stage.balancer.log());
            stage.wait_for_answers(300);
        }
    });
}
