//! What SQLite acknowledged outlives SIGKILL at any moment, and nothing of a transaction is there by half.
//!
//! In each round callers write and the database is killed at a random moment: mostly while it serves them, sometimes
//! while it starts and takes up what the last kill left. Then it is started, and the round's transactions are judged
//! by the ledger, which lies outside and is flushed. `SIXFOLD_KILLS` says how many rounds; with `SIXFOLD_KILL_TABLE` a
//! table of all of them is written to that file.

use std::fmt::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::Rng;
use rustix::process::Signal;
use system_tests::promises::{Contents, Ledger, Told, Verdict, Writers, judge};
use system_tests::{Database, Process, check_structure};

/// How often the database is killed in `make test`.
const KILLS: usize = 12;

/// The callers that write at the same time.
const WRITERS: usize = 8;

/// The longest time from the beginning of a round to its kill, in milliseconds: while it serves, while it starts.
const LONGEST_MS: [u64; 2] = [300, 80];

/// One round in this many is killed while it starts.
const EARLY: usize = 6;

const TABLE_HEAD: &str = "| kill | while | after ms | acknowledged | in doubt | of those there | lost | half done |\n\
                          |--:|---|--:|--:|--:|--:|--:|--:|\n";

fn kills() -> usize {
    std::env::var("SIXFOLD_KILLS").map_or(KILLS, |text| text.parse().expect("a number"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_acknowledged_outlives_a_killed_sqlite_and_nothing_is_half_done() {
    // The log begins anew often, so that kills meet checkpoints too.
    let database = Database::new("checkpoint = \"64KiB\"\n");
    let mut rounds = Rounds::new(&database);
    let mut process = database.start().await;
    for kill in 1..=kills() {
        process = rounds.kill(process, kill).await;
    }
    // Once more all of it: what a later kill might have taken away.
    let whole = rounds.judge("", 0).await;
    whole.assert_kept("in the end");
    process.signal(Signal::TERM);
    process.end().await;
    check_structure(&database.data()).expect("the database is whole");
    let Rounds { done, unknown, doubtful, .. } = rounds;
    let summary = format!(
        "{} kills: {done} transactions acknowledged, 0 lost; {unknown} in doubt, of which {doubtful} were there; \
         {} there in the end, 0 half done, no gap in the change log, integrity_check ok",
        kills(),
        whole.present,
    );
    println!("{summary}");
    if let Some(file) = std::env::var_os("SIXFOLD_KILL_TABLE") {
        std::fs::write(file, format!("{summary}\n\n{TABLE_HEAD}{}", rounds.table)).expect("the table");
    }
}

struct Rounds<'a> {
    database: &'a Database,
    ledger: Arc<Ledger>,
    /// The last change that was judged.
    sequence: u64,
    table: String,
    done: usize,
    unknown: usize,
    doubtful: usize,
}

impl<'a> Rounds<'a> {
    fn new(database: &'a Database) -> Self {
        let ledger = Arc::new(Ledger::create(&database.folder().join("ledger")));
        Self { database, ledger, sequence: 0, table: String::new(), done: 0, unknown: 0, doubtful: 0 }
    }

    /// Kills a running process at a random moment of one round, starts another and judges the round.
    async fn kill(&mut self, mut process: Process, kill: usize) -> Process {
        let prefix = format!("k{kill:04}-");
        let is_early = kill.is_multiple_of(EARLY);
        if is_early {
            process.signal(Signal::KILL);
            process.end().await;
        }
        let began = Instant::now();
        let writers = Writers::start(self.database.client(), &self.ledger, 0..WRITERS, &prefix, || 0);
        if is_early {
            process = self.database.spawn(&[]);
        }
        let pause = rand::rng().random_range(0..LONGEST_MS[usize::from(is_early)]);
        tokio::time::sleep(Duration::from_millis(pause)).await;
        process.signal(Signal::KILL);
        let after = began.elapsed();
        process.end().await;
        writers.stop().await;

        let process = self.database.start().await;
        let verdict = self.judge(&prefix, self.sequence).await;
        let told = self.ledger.entries(&prefix);
        let count = |what| told.values().filter(|entry| entry.told == what).count();
        let (done, unknown) = (count(Told::Done), count(Told::Unknown));
        writeln!(
            self.table,
            "| {kill} | {} | {} | {done} | {unknown} | {} | {} | {} |",
            if is_early { "starting" } else { "writing" },
            after.as_millis(),
            verdict.doubtful,
            verdict.lost.len(),
            verdict.halves.len()
        )
        .expect("a line");
        (self.done, self.unknown) = (self.done + done, self.unknown + unknown);
        self.doubtful += verdict.doubtful;
        verdict.assert_kept(&format!("after kill {kill}"));
        process
    }

    /// Judges the transactions that begin with a prefix, and the change log after a sequence.
    async fn judge(&mut self, prefix: &str, after: u64) -> Verdict {
        let contents = Contents::read(self.database.client(), prefix, after).await.expect("it can be read");
        self.sequence = contents.sequences.last().copied().unwrap_or(after);
        judge(&contents, &self.ledger.entries(prefix), after)
    }
}
