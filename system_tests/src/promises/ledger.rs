//! The ledger: what callers were told of each transaction, in a file that is flushed before anything is built on it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// What a caller was told of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// It is durable.
    Done,
    /// Nothing of it was done, or nobody was reached.
    NotDone,
    /// No answer, or one that leaves it open.
    Unknown,
}

/// One line of the ledger.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// What the caller was told.
    pub told: Told,
    /// What the witness said right after: how long the recording was, where there is one.
    pub mark: u64,
    /// When.
    pub at: Instant,
}

/// What was told, by the transaction's name.
#[derive(Debug)]
pub struct Ledger {
    file: Mutex<File>,
    entries: Mutex<BTreeMap<String, Entry>>,
}

impl Ledger {
    /// Makes a ledger in a new file, which must lie outside what is going to fail.
    pub fn create(file: &Path) -> Self {
        let file = Mutex::new(File::create(file).expect("the ledger's file"));
        Self { file, entries: Mutex::default() }
    }

    /// Notes what a caller was told, and returns once that is on the disk.
    pub fn note(&self, name: &str, told: Told, mark: u64) {
        let entry = Entry { told, mark, at: Instant::now() };
        {
            let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
            writeln!(file, "{name} {told:?} {mark}").expect("the ledger takes a line");
            file.sync_data().expect("the ledger is flushed");
        }
        self.lock().insert(name.to_owned(), entry);
    }

    /// Gives how many transactions were acknowledged.
    pub fn acknowledged(&self) -> usize {
        self.lock().values().filter(|entry| entry.told == Told::Done).count()
    }

    /// Gives the lines whose names begin with `prefix`.
    pub fn entries(&self, prefix: &str) -> BTreeMap<String, Entry> {
        let entries = self.lock();
        let own = entries.range(prefix.to_owned()..).take_while(|(name, _)| name.starts_with(prefix));
        own.map(|(name, entry)| (name.clone(), *entry)).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
