//! The observer of a process: the library that is loaded into it, what it recorded, and the faults it causes.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::FlockOperation;
use rustix::process::Signal;

use super::Recording;
use crate::Process;

/// The library's source.
const SOURCE: &str = include_str!("disk.c");

/// Observes the files below one folder, in any number of processes one after the other.
#[derive(Debug)]
pub struct Recorder {
    library: PathBuf,
    root: PathBuf,
    record: PathBuf,
    faults: PathBuf,
    lies: bool,
}

impl Recorder {
    /// Compiles the library into a folder, to observe `root`; the recording lies in the folder too.
    pub fn new(folder: &Path, root: &Path) -> Self {
        let (source, library) = (folder.join("disk.c"), folder.join("disk.so"));
        std::fs::write(&source, SOURCE).expect("the library's source");
        let compiled = Command::new("cc")
            .args(["-O1", "-shared", "-fPIC", "-o"])
            .args([&library, &source])
            .args(["-ldl", "-lpthread"])
            .status();
        assert!(compiled.expect("cc starts").success(), "disk.c does not compile");
        let (record, faults) = (folder.join("recording"), folder.join("faults"));
        Self { library, root: root.to_owned(), record, faults, lies: false }
    }

    /// Has fsync do nothing and say that it did, as a lying disk or `synchronous=OFF` does.
    pub fn lying(self) -> Self {
        Self { lies: true, ..self }
    }

    /// Gives what a process needs in its environment to be observed.
    pub fn variables(&self) -> Vec<(&'static str, String)> {
        let text = |path: &Path| path.display().to_string();
        let mut variables = vec![
            ("LD_PRELOAD", text(&self.library)),
            ("SIXFOLD_DISK_ROOT", text(&self.root)),
            ("SIXFOLD_DISK_RECORD", text(&self.record)),
            ("SIXFOLD_DISK_FAULTS", text(&self.faults)),
        ];
        if self.lies {
            variables.push(("SIXFOLD_DISK_LIES", "1".to_owned()));
        }
        variables
    }

    /// Has calls fail from now on: lines of call, error number and what the path contains. An empty text ends it.
    pub fn set_faults(&self, lines: &str) {
        let beside = self.faults.with_extension("new");
        std::fs::write(&beside, lines).expect("the faults");
        std::fs::rename(beside, &self.faults).expect("the faults");
    }

    /// Kills a process between two changes: what it did without a record of it, the next process would find and no loss
    /// of power could take away.
    pub async fn kill(&self, process: &mut Process) {
        let record = File::open(&self.record).expect("the recording");
        rustix::fs::flock(&record, FlockOperation::LockExclusive).expect("its lock");
        process.signal(Signal::KILL);
        process.end().await;
    }

    /// Gives a witness for a ledger: how long the recording is now.
    pub fn witness(&self) -> impl Fn() -> u64 + Send + Sync + 'static {
        let record = self.record.clone();
        move || std::fs::metadata(&record).map_or(0, |metadata| metadata.len())
    }

    /// Reads what was recorded.
    pub fn recording(&self) -> Recording {
        Recording::read(&self.record)
    }
}
