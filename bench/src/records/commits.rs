//! Durable creates of 64 concurrent callers beside the ceiling: one thread that writes the same rows in batches of 64
//! through bare rusqlite, with the same schema and `synchronous=FULL`, and neither channel nor answers.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use database::{Config, Engine, Operation, Precondition, Transaction};
use rusqlite::Connection;
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use crate::processes::own_cpu;
use crate::report::{Report, Samples};
use crate::{Args, turns};

/// Callers at a time, and rows of one commit of the bare loop.
const CALLERS: usize = 64;

/// Who writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Writer {
    /// The engine, with its callers.
    Engine,
    /// The bare loop: a record and its line in the change log.
    SameRows,
    /// The bare loop without the change log.
    RecordsOnly,
}

impl Writer {
    const ALL: [Self; 3] = [Self::Engine, Self::SameRows, Self::RecordsOnly];

    fn title(self) -> &'static str {
        match self {
            Self::Engine => "sixfold, 64 callers",
            Self::SameRows => "bare loop, the same rows",
            Self::RecordsOnly => "bare loop, records without a change log",
        }
    }

    /// Gives how many creates became durable, and the CPU time of all of them.
    fn run(self, folder: &Path, duration: Duration) -> anyhow::Result<(u64, Duration)> {
        let engine = Engine::open(&Config::default(), folder)?;
        if self == Self::Engine {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
            let before = own_cpu()?;
            let written = runtime.block_on(call(&engine, duration))?;
            let used = own_cpu()? - before; // of threads that are still there
            engine.close();
            return Ok((written, used));
        }
        engine.close(); // It made the schema.
        let before = own_cpu()?;
        let written = write_bare(&folder.join("sixfold.db"), duration, self == Self::SameRows)?;
        Ok((written, own_cpu()? - before))
    }
}

/// Measures in alternating rounds, then counts flushes.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let mut report = Report::new("Durable creates of 64 callers, beside the ceiling");
    let (rounds, seconds) = (args.rounds(5), args.seconds(4));
    report.line(format!(
        "The record is {} bytes of JSON. {rounds} alternating rounds of {seconds} s on empty databases; median \
         [least–most]; CPU is of all threads, the callers' included.\n",
        Value::Object(data(0)).to_string().len()
    ));
    let mut rates: [Samples; 3] = Default::default();
    let mut costs: [Samples; 3] = Default::default();
    for round in 1..=rounds {
        for (writer, (rate, cost)) in turns(round, Writer::ALL.iter().zip(rates.iter_mut().zip(&mut costs))) {
            let folder = scratch()?;
            let (written, cpu) = writer.run(folder.path(), Duration::from_secs(seconds))?;
            report.keep(
                &format!("round {round}, {}", writer.title()),
                &format!("{written} in {seconds} s, CPU {cpu:?}\n"),
            );
            rate.push(written as f64 / seconds as f64);
            cost.push(cpu.as_secs_f64() * 1e6 / written as f64);
        }
    }
    report.line("| | creates/s | CPU µs/create |\n|---|---|---|");
    for (writer, (rate, cost)) in Writer::ALL.iter().zip(rates.iter().zip(&costs)) {
        report.line(format!("| {} | {} | {} |", writer.title(), rate.show(0), cost.show(1)));
    }
    let [ours, same, records] = rates.map(|rate| rate.median());
    report.line(format!(
        "\nsixfold reaches {:.2} of the ceiling with the same rows, {:.2} of the one without a change log",
        ours / same,
        ours / records
    ));
    if let Err(error) = count_flushes(&mut report) {
        report.line(format!("\nflushes were not counted: {error:#}"));
    }
    report.write(&args.results, "commits.md")
}

/// Runs the callers once more while the kernel counts what is flushed; strace would count it, too, and take the core that
/// the callers need.
fn count_flushes(report: &mut Report) -> anyhow::Result<()> {
    let output = Command::new("perf")
        .args(["stat", "-x", ",", "-e", "syscalls:sys_enter_fsync,syscalls:sys_enter_fdatasync"])
        .arg(std::env::current_exe()?)
        .arg("callers")
        .output()
        .context("cannot start perf")?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let written: u64 = String::from_utf8_lossy(&output.stdout).trim().parse().context(said.clone())?;
    report.keep("flushes", &said);
    let counts = said.lines().map(|line| line.split(',').next().unwrap_or_default().parse::<u64>());
    let flushes: u64 = counts.sum::<Result<u64, _>>().context(said.clone())?;
    report.line(format!(
        "\n{flushes} flushes (fsync and fdatasync, checkpoints included) for {written} acknowledged creates: one for {:.1}",
        written as f64 / flushes as f64
    ));
    Ok(())
}

/// Only the callers, for two seconds; prints how many creates were acknowledged.
pub(crate) fn run_callers() -> anyhow::Result<()> {
    let folder = scratch()?;
    println!("{}", Writer::Engine.run(folder.path(), Duration::from_secs(2))?.0);
    Ok(())
}

/// A folder on the disk that holds the project, not in memory.
fn scratch() -> anyhow::Result<TempDir> {
    Ok(tempfile::tempdir_in("target")?)
}

async fn call(engine: &Engine, duration: Duration) -> anyhow::Result<u64> {
    let next = Arc::new(AtomicU64::new(0));
    let end = Instant::now() + duration;
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..CALLERS {
        let (engine, next) = (engine.clone(), Arc::clone(&next));
        callers.spawn(async move {
            let mut written = 0;
            while Instant::now() < end {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let create = Operation::Put {
                    collection: "products".to_owned(),
                    id: id(number),
                    data: data(number),
                    precondition: Precondition::Absent,
                };
                let transaction = Transaction { namespace: "shop".to_owned(), operations: vec![create] };
                engine.transact(transaction).await?;
                written += 1;
            }
            anyhow::Ok(written)
        });
    }
    let mut written = 0;
    while let Some(caller) = callers.join_next().await {
        written += caller??;
    }
    Ok(written)
}

/// Writes rows like the engine's with one commit for every 64.
fn write_bare(file: &Path, duration: Duration, with_changes: bool) -> anyhow::Result<u64> {
    let connection = Connection::open(file)?;
    connection.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL")?;
    let mut record = connection.prepare(
        "INSERT INTO records (namespace, collection, id, version, created_at, updated_at, data) \
         VALUES ('shop', 'products', ?1, ?2, ?3, ?3, ?4)",
    )?;
    let mut change = connection.prepare(
        "INSERT INTO changes (namespace, collection, id, kind, at) VALUES ('shop', 'products', ?1, 'create', ?2)",
    )?;
    let (mut number, end) = (0_u64, Instant::now() + duration);
    while Instant::now() < end {
        connection.execute_batch("BEGIN IMMEDIATE")?;
        for _ in 0..CALLERS {
            let (id, at) = (id(number), 1_700_000_000_000_000 + i64::try_from(number)?);
            record.execute((&id, i64::try_from(number)?, at, Value::Object(data(number)).to_string()))?;
            if with_changes {
                change.execute((&id, at))?;
            }
            number += 1;
        }
        connection.execute_batch("COMMIT")?;
    }
    Ok(number)
}

fn id(number: u64) -> String {
    format!("{number:015}")
}

fn data(number: u64) -> Map<String, Value> {
    let data = json!({"name": format!("lamp {number}"), "price": number % 1000, "category": format!("c{}", number % 100)});
    match data {
        Value::Object(data) => data,
        _ => Map::new(),
    }
}
