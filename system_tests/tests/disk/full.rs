//! A file system that is really full: only root can make one, a tmpfs over the machine's folder.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use rustix::process::Signal;
use system_tests::promises::{Contents, Ledger, Told, Writers, judge};
use system_tests::{Database, check_structure, wait_until};

use crate::machine::{PLAIN, PREFIX, SHIPPED};

/// The size of the file system, and what takes its place until it is taken away.
const MIB: usize = 6;
const BALLAST_MIB: usize = 3;

/// A mounted file system, unmounted in the end.
struct Mounted(PathBuf);

impl Mounted {
    fn over(folder: &Path) -> Option<Self> {
        let options = format!("size={MIB}m");
        let status =
            Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(folder).status();
        status.is_ok_and(|status| status.success()).then(|| Self(folder.to_owned()))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").args(["-l"]).arg(&self.0).status();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_what_it_cannot_take_and_goes_on_by_itself_once_there_is_space() {
    for settings in [PLAIN, SHIPPED] {
        let database = Database::new(settings);
        let Some(_mounted) = Mounted::over(&database.machine()) else {
            println!("skipped: only root can mount a file system that is really full");
            return;
        };
        let ballast = database.machine().join("ballast");
        std::fs::write(&ballast, vec![1; BALLAST_MIB << 20]).expect("the ballast");
        let ledger = Arc::new(Ledger::create(&database.folder().join("ledger")));
        let mut process = database.start().await;
        let writers = Writers::start(database.client(), &ledger, 0..6, PREFIX, || 0);
        let told = |told| ledger.entries(PREFIX).values().any(|entry| entry.told == told);
        wait_until("the disk is full", || async { told(Told::NotDone) }).await;
        wait_until("it is said", || async { database.client().get("/readyz").await.status == 503 }).await;
        writers.stop().await;
        let acknowledged = ledger.acknowledged();
        assert!(acknowledged > 0, "nothing fitted");
        std::fs::remove_file(&ballast).expect("there is space");
        database.wait_until_ready().await;
        let writers = Writers::start(database.client(), &ledger, 6..12, PREFIX, || 0);
        wait_until("it is written again", || async { ledger.acknowledged() > acknowledged }).await;
        writers.stop().await;
        let contents = Contents::read(database.client(), PREFIX, 0).await.expect("it can be read");
        judge(&contents, &ledger.entries(PREFIX), 0).assert_kept("after a full disk");
        process.signal(Signal::TERM);
        process.end().await;
        check_structure(&database.data()).expect("the database is whole");
    }
}
