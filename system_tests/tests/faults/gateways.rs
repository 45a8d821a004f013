//! Two of the faults with real gateways behind the balancer.

use std::time::Duration;

use crate::scenario::{Behind, run};

#[test]
fn a_gateway_killed_under_load_costs_no_idempotent_request() {
    run("SIGKILL one of five gateways", Behind::Gateways, "", |stage| {
        stage.backends[2].kill();
        stage.play_for(Duration::from_secs(2));
        stage.backends[2].start_again();
        stage.wait_for_answers(500);
    });
}

#[test]
fn a_rolling_restart_of_all_gateways_costs_no_idempotent_request() {
    run("rolling restart of five gateways", Behind::Gateways, "", |stage| {
        for index in 0..5 {
            stage.backends[index].stop();
            stage.backends[index].start_again();
            // Two good probes, 200 ms apart, bring it back.
            stage.play_for(Duration::from_millis(600));
        }
    });
}
