//! A machine whose disk is observed, and the machines that are rebuilt from what it recorded.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rustix::process::Signal;
use system_tests::power::{Disk, Recorder, Recording};
use system_tests::promises::{Contents, Ledger, Told, Verdict, Writers, judge};
use system_tests::{Database, Process, check_structure};

/// The log begins anew often, so that faults meet checkpoints too.
pub(crate) const PLAIN: &str = "checkpoint = \"64KiB\"\n";

/// The same with a backup in mode `sync`.
pub(crate) const SHIPPED: &str = "checkpoint = \"64KiB\"\n[database.backup]\ndestination = \"file:{machine}/destination\"\nmode = \"sync\"\n";

/// The callers that write at the same time.
const WRITERS: usize = 6;

/// What the callers' transactions are named by.
pub(crate) const PREFIX: &str = "w";

/// How long a database may take to start on a disk that lost power.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is done with a machine that lost power.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum After {
    /// The database is started on what is left of its data.
    Start,
    /// The data folder is taken away and restored from what is left of the destination.
    Restore,
    /// What a restore had put into the folder `restored` becomes the data folder.
    TakeRestored,
}

/// A database whose disk is observed, and what its callers were told.
pub(crate) struct Machine {
    pub(crate) database: Database,
    pub(crate) recorder: Recorder,
    pub(crate) ledger: Arc<Ledger>,
    settings: String,
    callers: AtomicUsize,
}

/// What a rebuilt machine held, or why it could not be told; with a line for the table.
pub(crate) struct Loss {
    pub(crate) line: String,
    pub(crate) found: Result<Verdict, String>,
}

impl Loss {
    /// Fails the test unless everything was kept.
    pub(crate) fn assert_kept(&self) {
        match &self.found {
            Ok(verdict) => verdict.assert_kept(&self.line),
            Err(error) => panic!("{}: {error}", self.line),
        }
    }
}

impl Machine {
    pub(crate) fn new(settings: &str, make: impl Fn(Recorder) -> Recorder) -> Self {
        let database = Database::new(settings);
        let recorder = make(Recorder::new(database.folder(), &database.machine()));
        let ledger = Arc::new(Ledger::create(&database.folder().join("ledger")));
        Self { database, recorder, ledger, settings: settings.to_owned(), callers: AtomicUsize::new(0) }
    }

    /// Starts the database.
    pub(crate) fn spawn(&self) -> Process {
        self.database.spawn(&self.recorder.variables())
    }

    /// Kills a process.
    pub(crate) async fn kill(&self, mut process: Process) {
        self.recorder.kill(&mut process).await;
    }

    /// Starts callers; each time others than before.
    pub(crate) fn write(&self) -> Writers {
        let first = self.callers.fetch_add(WRITERS, Ordering::Relaxed);
        let callers = first..first + WRITERS;
        Writers::start(self.database.client(), &self.ledger, callers, PREFIX, self.recorder.witness())
    }

    /// Has the machine lose power at so many random moments of what was recorded, in the last `share` of it, and
    /// judges what is then left. In mode `sync`, every second one is restored from its destination.
    pub(crate) async fn lose_power(&self, name: &str, count: usize, share: f64) -> Vec<Loss> {
        let (recording, seed) = (self.recorder.recording(), rand::random());
        println!(
            "{name}: {} records, {} acknowledged, seed {seed}",
            recording.len(),
            self.ledger.acknowledged()
        );
        let mut rng = StdRng::seed_from_u64(seed);
        let mut disk = Disk::new(&self.database.machine(), StdRng::seed_from_u64(rng.random()));
        let first = (recording.len() as f64 * (1.0 - share)) as usize;
        let mut moments: Vec<usize> = (0..count).map(|_| rng.random_range(first..=recording.len())).collect();
        moments.sort_unstable();
        let mut losses = Vec::new();
        for (number, moment) in moments.into_iter().enumerate() {
            disk.follow(&recording, moment);
            let restores = self.settings.contains("destination") && number % 2 == 1;
            let after = if restores { After::Restore } else { After::Start };
            let mut loss = self.rebuild(&mut disk, &recording, moment, after).await;
            loss.line = format!("| {name} | {seed} | {} |", loss.line);
            note(&loss.line);
            losses.push(loss);
        }
        losses
    }

    /// Has the machine lose power so many times after all that was recorded, and judges what it holds.
    pub(crate) async fn lose_power_in_the_end(&self, name: &str, count: usize, after: After) -> Vec<Loss> {
        let (recording, seed) = (self.recorder.recording(), rand::random());
        let mut disk = Disk::new(&self.database.machine(), StdRng::seed_from_u64(seed));
        disk.follow(&recording, recording.len());
        let mut losses = Vec::new();
        for _ in 0..count {
            let mut loss = self.rebuild(&mut disk, &recording, recording.len(), after).await;
            loss.line = format!("| {name} | {seed} | {} |", loss.line);
            note(&loss.line);
            losses.push(loss);
        }
        losses
    }

    /// Builds the machine that lost power at a moment, starts the database on it and judges what it holds.
    async fn rebuild(&self, disk: &mut Disk, recording: &Recording, moment: usize, after: After) -> Loss {
        let mut told = self.ledger.entries(PREFIX);
        let position = recording.position(moment);
        for entry in told.values_mut() {
            // What was answered later, nobody knew of yet.
            if entry.mark > position {
                entry.told = Told::Unknown;
            }
        }
        let acknowledged = told.values().filter(|entry| entry.told == Told::Done).count();
        let rebuilt = Database::new(&self.settings);
        disk.lose_power(&rebuilt.machine());
        let judged = async {
            match (after, acknowledged) {
                (After::Start, _) => {}
                (After::Restore, 0) => {
                    // Before the first base there is nothing to restore, nor was anything promised.
                    if restore(&rebuilt).is_err() {
                        return Ok(Verdict::default());
                    }
                }
                (After::Restore, _) => restore(&rebuilt)?,
                (After::TakeRestored, _) => take_restored(&rebuilt).map_err(|error| error.to_string())?,
            }
            let mut process = rebuilt.spawn(&[]);
            wait_for_it(&rebuilt, &mut process).await?;
            let contents = match after {
                After::Start => Contents::read(rebuilt.client(), PREFIX, 0).await,
                After::Restore | After::TakeRestored => {
                    Contents::read_restored(rebuilt.client(), PREFIX).await
                }
            };
            process.signal(Signal::TERM);
            process.end().await;
            check_structure(&rebuilt.data())?;
            let mut contents = contents?;
            if !contents.has_log {
                contents.read_log_of(&rebuilt.data().join("sixfold.db"), PREFIX)?;
            }
            Ok(judge(&contents, &told, 0))
        };
        let found: Result<Verdict, String> = judged.await;
        let result = match &found {
            Ok(verdict) => format!("{} | {} | {}", verdict.present, verdict.lost.len(), verdict.halves.len()),
            Err(error) => format!("- | - | {}", error.lines().last().unwrap_or_default()),
        };
        let line = format!("{moment} of {} | {after:?} | {acknowledged} | {result}", recording.len());
        Loss { line, found }
    }
}

fn take_restored(database: &Database) -> std::io::Result<()> {
    std::fs::remove_dir_all(database.data())?;
    std::fs::rename(database.machine().join("restored"), database.data())
}

/// Takes the data folder away and has it restored from the destination, all of whose files must be whole.
fn restore(database: &Database) -> Result<(), String> {
    if database.data().exists() {
        std::fs::remove_dir_all(database.data()).map_err(|error| error.to_string())?;
    }
    database.try_run(&["database", "backup", "verify"])?;
    database.try_run(&["database", "restore", "--at", "latest"]).map(drop)
}

/// Waits until the database is ready, or gives why it is not going to be.
async fn wait_for_it(database: &Database, process: &mut Process) -> Result<(), String> {
    let began = Instant::now();
    while !database.is_ready().await {
        if !process.is_running() || began.elapsed() > PATIENCE {
            return Err(format!("it is not ready: {}", process.log()));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

fn note(line: &str) {
    let Some(file) = std::env::var_os("SIXFOLD_POWER_TABLE") else { return };
    let file = std::fs::File::options().create(true).append(true).open(Path::new(&file));
    writeln!(file.expect("the table"), "{line}").expect("the table");
}
