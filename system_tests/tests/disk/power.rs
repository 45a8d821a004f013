//! Power is lost at any moment of a database that is written to, killed, stopped and started again.

use std::time::Duration;

use rustix::process::Signal;
use system_tests::power::Recorder;

use crate::machine::{After, Loss, Machine, PLAIN, SHIPPED};

/// How often the power is lost in `make test`, in each test.
const LOSSES: usize = 10;

/// The losses of one recording.
const OF_ONE: usize = 25;

/// How often it is lost of a disk that lies: each costs the patience with a database that does not start.
const LIES: usize = 4;

/// How often it is lost of one at most until that is noticed.
const PATIENCE: usize = 60;

/// How long callers write to one process of a recording.
const PART: Duration = Duration::from_millis(400);

fn losses() -> Option<usize> {
    std::env::var("SIXFOLD_POWER_LOSSES").ok().map(|text| text.parse().expect("a number"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_acknowledged_outlives_a_loss_of_power() {
    let losses = lose_power("honest", PLAIN, losses().unwrap_or(LOSSES), |recorder| recorder).await;
    losses.iter().for_each(Loss::assert_kept);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_mode_sync_it_is_also_at_a_destination_that_lost_power() {
    let losses = lose_power("sync", SHIPPED, losses().unwrap_or(LOSSES), |recorder| recorder).await;
    losses.iter().for_each(Loss::assert_kept);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_was_restored_outlives_a_loss_of_power() {
    let machine = Machine::new(SHIPPED, |recorder| recorder);
    let mut process = machine.spawn();
    machine.database.wait_until_ready().await;
    let writers = machine.write();
    tokio::time::sleep(PART).await;
    writers.stop().await;
    process.signal(Signal::TERM);
    process.end().await;
    let restored = machine.database.machine().join("restored").display().to_string();
    let arguments = ["database", "restore", "--at", "latest", "--to", &restored];
    machine.database.try_run_with(&arguments, &machine.recorder.variables()).expect("it is restored");
    let losses = machine.lose_power_in_the_end("restored", LOSSES, After::TakeRestored).await;
    losses.iter().for_each(Loss::assert_kept);
}

/// That the tests above can fail: fsync does nothing, as with `synchronous=OFF`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_lies_about_fsync_loses_what_was_acknowledged() {
    for (name, settings) in [("lying", PLAIN), ("lying, sync", SHIPPED)] {
        let (mut noticed, mut count) = (0, 0);
        // By chance all that was not flushed may have arrived.
        while noticed == 0 && count < PATIENCE {
            let losses = lose_power(
                name,
                settings,
                losses().map_or(LIES, |losses| losses.min(OF_ONE)),
                Recorder::lying,
            )
            .await;
            let is_kept = |loss: &&Loss| matches!(&loss.found, Ok(verdict) if verdict.is_kept());
            count += losses.len();
            noticed += losses.len() - losses.iter().filter(is_kept).count();
        }
        println!("{name}: {noticed} of {count} losses of power were noticed");
        assert!(noticed > 0, "nothing is lost although nothing was flushed");
    }
}

/// Loses power so many times, over several recordings.
async fn lose_power(
    name: &str,
    settings: &str,
    losses: usize,
    make: impl Fn(Recorder) -> Recorder,
) -> Vec<Loss> {
    let mut found = Vec::new();
    while found.len() < losses {
        let machine = Machine::new(settings, &make);
        record(&machine).await;
        found.extend(machine.lose_power(name, OF_ONE.min(losses - found.len()), 1.0).await);
    }
    found
}

/// Runs the database while callers write to it: killed, stopped, killed again.
async fn record(machine: &Machine) {
    let mut process = machine.spawn();
    let writers = machine.write();
    let mut ends = [Signal::KILL, Signal::TERM, Signal::KILL].into_iter().peekable();
    while let Some(end) = ends.next() {
        machine.database.wait_until_ready().await;
        tokio::time::sleep(PART).await;
        match end {
            Signal::KILL => machine.recorder.kill(&mut process).await,
            _ => {
                process.signal(end);
                process.end().await;
            }
        }
        if ends.peek().is_some() {
            process = machine.spawn();
        }
    }
    writers.stop().await;
    assert!(machine.ledger.acknowledged() > 50, "hardly anything was written\n{}", process.log());
}
