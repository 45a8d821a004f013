//! Disks that fail: what is promised then, what the database says of it, and that it goes on by itself.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rand::Rng;
use system_tests::promises::{Contents, Told, judge};
use system_tests::{Process, wait_until};

use crate::machine::{Loss, Machine, PLAIN, PREFIX, SHIPPED};

/// Error numbers, as the kernel has them.
const EIO: i32 = 5;
const ENOSPC: i32 = 28;

/// How long a database may take to go on once its disk is well.
const PATIENCE: Duration = Duration::from_secs(20);

/// How many losses of power follow a fault.
const LOSSES: usize = 6;

/// How many faults befall a disk at random in `make test`.
const ROUNDS: usize = 12;

/// Calls that may fail, and the parts of paths for which they do.
const CALLS: [&str; 3] = ["write", "fsync", "read"];
const PARTS: [&str; 6] =
    ["sixfold.db-wal", "sixfold.db", "/destination/", "/segments$", "/destination$", "head"];

fn rounds() -> usize {
    std::env::var("SIXFOLD_DISK_FAULTS_ROUNDS").map_or(ROUNDS, |text| text.parse().expect("a number"))
}

impl Machine {
    fn count(&self, told: Told) -> usize {
        self.ledger.entries(PREFIX).values().filter(|entry| entry.told == told).count()
    }

    /// Waits until more callers were told so.
    async fn wait_until_told(&self, told: Told) {
        let before = self.count(told);
        wait_until(&format!("callers are told {told:?}"), || async { self.count(told) > before }).await;
    }

    /// Waits until the database is ready, and starts it while it does not run: it refuses to on a disk that fails.
    async fn wait_until_ready(&self, when: &str, process: &mut Process) {
        let began = Instant::now();
        while !self.database.is_ready().await {
            assert!(began.elapsed() < PATIENCE, "{when}: it is not ready\n{}", process.log());
            if !process.is_running() {
                *process = self.spawn();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn health(&self) -> (u16, String) {
        let reply = self.database.client().get("/readyz").await;
        (reply.status.as_u16(), reply.json()["reason"].as_str().unwrap_or_default().to_owned())
    }

    async fn figure(&self, name: &str) -> Option<f64> {
        let text = self.database.admin().get("/metrics").await.body;
        let text = String::from_utf8_lossy(&text).into_owned();
        text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
    }

    /// Judges what the running database holds.
    async fn assert_kept(&self, when: &str) {
        let contents = Contents::read(self.database.client(), PREFIX, 0).await.expect("it can be read");
        judge(&contents, &self.ledger.entries(PREFIX), 0).assert_kept(when);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_takes_nothing_is_said_and_writing_goes_on_by_itself_once_it_does() {
    for (fault, told) in [
        (format!("write {ENOSPC} sixfold.db-wal"), Told::NotDone),
        (format!("write {EIO} sixfold.db-wal"), Told::Unknown),
        (format!("fsync {EIO} sixfold.db-wal"), Told::Unknown),
    ] {
        let machine = Machine::new(PLAIN, |recorder| recorder);
        let process = machine.spawn();
        machine.database.wait_until_ready().await;
        let writers = machine.write();
        machine.wait_until_told(Told::Done).await;
        machine.recorder.set_faults(&fault);
        machine.wait_until_told(told).await;
        assert_eq!(machine.health().await, (503, "the last write failed".to_owned()), "{fault}");
        assert_eq!(machine.figure("sixfold_database_writable").await, Some(0.0), "{fault}");
        assert!(machine.figure("sixfold_database_failed_commits_total").await >= Some(1.0), "{fault}");
        // Nobody writes any more, and it is found out all the same that the disk is well.
        writers.stop().await;
        machine.recorder.set_faults("");
        machine.database.wait_until_ready().await;
        assert_eq!(machine.figure("sixfold_database_writable").await, Some(1.0), "{fault}");
        let writers = machine.write();
        machine.wait_until_told(Told::Done).await;
        writers.stop().await;
        machine.assert_kept(&fault).await;
        machine.kill(process).await;
        machine.lose_power(&fault, LOSSES, 0.5).await.iter().for_each(Loss::assert_kept);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_gives_nothing_back_breaks_no_promise_and_all_goes_on_once_it_does() {
    for settings in [PLAIN, SHIPPED] {
        for part in ["sixfold.db-wal", "sixfold.db"] {
            let machine = Machine::new(settings, |recorder| recorder);
            let mut process = machine.spawn();
            machine.database.wait_until_ready().await;
            let writers = machine.write();
            machine.wait_until_told(Told::Done).await;
            machine.recorder.set_faults(&format!("read {EIO} {part}"));
            pause(400).await;
            machine.recorder.set_faults("");
            machine.wait_until_ready(part, &mut process).await;
            machine.wait_until_told(Told::Done).await;
            writers.stop().await;
            machine.assert_kept(part).await;
            machine.kill(process).await;
            machine.lose_power(part, LOSSES, 0.5).await.iter().for_each(Loss::assert_kept);
        }
    }
}

/// After a failed fsync, memory holds what the disk may never get: a process that takes it up from there must not build
/// on it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_failed_fsync_left_in_memory_is_not_built_upon_by_the_next_process() {
    // The log is not begun anew: what is behind the gap would be lost with it.
    let machine = Machine::new("checkpoint = \"64MiB\"\n", |recorder| recorder);
    for _ in 0..3 {
        machine.recorder.set_faults("");
        let process = machine.spawn();
        machine.database.wait_until_ready().await;
        let writers = machine.write();
        machine.wait_until_told(Told::Done).await;
        machine.recorder.set_faults(&format!("fsync {EIO} sixfold.db-wal"));
        machine.wait_until_told(Told::Unknown).await;
        machine.kill(process).await;
        writers.stop().await;
    }
    machine.recorder.set_faults("");
    let process = machine.spawn();
    machine.database.wait_until_ready().await;
    let writers = machine.write();
    machine.wait_until_told(Told::Done).await;
    writers.stop().await;
    machine.assert_kept("in memory").await;
    machine.kill(process).await;
    machine.lose_power("failed fsync", LOSSES, 0.1).await.iter().for_each(Loss::assert_kept);
}

/// A checkpoint that ends before the log does is not flushed, and SQLite does not begin the next one before its end: what
/// it wrote can be lost by the next one's fsync.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_failed_fsync_of_the_database_file_lost_is_written_back_once_more() {
    let machine = Machine::new(PLAIN, |recorder| recorder);
    let process = machine.spawn();
    machine.database.wait_until_ready().await;
    let writers = machine.write();
    for _ in 0..rounds() {
        machine.wait_until_told(Told::Done).await;
        machine.recorder.set_faults(&format!("fsync {EIO} sixfold.db$"));
        pause(100).await;
        machine.recorder.set_faults("");
        pause(100).await;
    }
    writers.stop().await;
    machine.assert_kept("after all faults").await;
    machine.kill(process).await;
    machine.lose_power("database file", 2 * rounds(), 1.0).await.iter().for_each(Loss::assert_kept);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_destination_that_fails_promises_nothing_and_takes_everything_up_once_it_is_well() {
    for fault in ["write 28 /destination/", "fsync 5 .partial-", "fsync 5 /segments$", "fsync 5 /destination"]
    {
        let machine = Machine::new(SHIPPED, |recorder| recorder);
        let process = machine.spawn();
        machine.database.wait_until_ready().await;
        let writers = machine.write();
        machine.wait_until_told(Told::Done).await;
        machine.recorder.set_faults(fault);
        machine.wait_until_told(Told::Unknown).await;
        machine.wait_until_told(Told::NotDone).await;
        assert_eq!(
            machine.health().await,
            (503, "the backup destination cannot be used".to_owned()),
            "{fault}"
        );
        assert_eq!(machine.figure("sixfold_backup_reachable").await, Some(0.0), "{fault}");
        // What was stored and could not be flushed is taken up by the next process, or by this one.
        let process = if rand::random() {
            machine.kill(process).await;
            machine.spawn()
        } else {
            process
        };
        machine.recorder.set_faults("");
        machine.database.wait_until_ready().await;
        machine.wait_until_told(Told::Done).await;
        writers.stop().await;
        machine.assert_kept(fault).await;
        machine.kill(process).await;
        machine.lose_power(fault, LOSSES, 0.3).await.iter().for_each(Loss::assert_kept);
    }
}

/// How many names deep a folder goes, itself one of them; what is not whole yet does not count.
fn depth_of(folder: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    let is_whole = |path: &PathBuf| !path.to_string_lossy().contains(".partial-");
    let depths = entries
        .map(|entry| entry.expect("an entry").path())
        .filter(is_whole)
        .map(|path| if path.is_dir() { depth_of(&path) } else { 1 });
    1 + depths.max().unwrap_or(0)
}

/// What a process made and could not flush before it was killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_that_a_killed_process_left_unflushed_are_flushed_by_the_next_one() {
    let machine = Machine::new(SHIPPED, |recorder| recorder);
    machine.recorder.set_faults("fsync 5 /machine$");
    let mut refused = machine.spawn();
    assert!(!refused.end().await.success(), "it starts in a folder that a loss of power would take away");
    let destination = machine.database.machine().join("destination");
    // The folders are made, and then the first base; each time the name is not flushed.
    for (fault, depth) in [("fsync 5 /destination", 1), ("fsync 5 /base$", 4)] {
        machine.recorder.set_faults(fault);
        let process = machine.spawn();
        wait_until(fault, || async { depth_of(&destination) >= depth }).await;
        machine.kill(process).await;
    }
    machine.recorder.set_faults("");
    let process = machine.spawn();
    machine.database.wait_until_ready().await;
    let writers = machine.write();
    machine.wait_until_told(Told::Done).await;
    writers.stop().await;
    machine.kill(process).await;
    machine.lose_power("unflushed names", LOSSES, 0.1).await.iter().for_each(Loss::assert_kept);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_fails_at_random_no_promise_is_broken() {
    for settings in [PLAIN, SHIPPED] {
        let machine = Machine::new(settings, |recorder| recorder);
        let mut process = machine.spawn();
        machine.database.wait_until_ready().await;
        let writers = machine.write();
        for _ in 0..rounds() {
            let fault = {
                let mut rng = rand::rng();
                let (call, part) = (CALLS[rng.random_range(0..3)], PARTS[rng.random_range(0..PARTS.len())]);
                format!("{call} {} {part}", if rng.random() { EIO } else { ENOSPC })
            };
            println!("{} {fault}", jiff::Timestamp::now());
            machine.recorder.set_faults(&fault);
            pause(150).await;
            if rand::random_range(0..3) == 0 {
                machine.kill(process).await;
                machine.recorder.set_faults("");
                process = machine.spawn();
            }
            pause(50).await;
            machine.recorder.set_faults("");
            if rand::random_range(0..3) == 0 {
                machine.wait_until_ready(&fault, &mut process).await;
                machine.wait_until_told(Told::Done).await;
            }
        }
        machine.wait_until_ready("in the end", &mut process).await;
        machine.wait_until_told(Told::Done).await;
        writers.stop().await;
        machine.assert_kept("after all faults").await;
        machine.kill(process).await;
        machine.lose_power("random faults", rounds(), 1.0).await.iter().for_each(Loss::assert_kept);
    }
}

async fn pause(longest_ms: u64) {
    let pause = rand::rng().random_range(0..longest_ms);
    tokio::time::sleep(Duration::from_millis(pause)).await;
}
