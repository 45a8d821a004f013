//! Records over HTTP beside PocketBase: creates, reads by id and filtered lists, few records and many.
//!
//! Both sides have one collection with the same fields and the same two indexes, filled with the same rows, and are
//! asked by the same load generator. What we store is durable when it is answered (`synchronous=FULL`);
//! PocketBase runs as it comes (`NORMAL`), but for its log of requests, which is off as ours is.

mod commits;
mod fill;
mod pocketbase;
mod sixfold;

use std::path::Path;
use std::process::Command;

use anyhow::Context;

pub(crate) use self::commits::{run as run_commits, run_callers};
use crate::load::wrk;
use crate::processes::{Running, write};
use crate::report::{Report, Samples};
use crate::{Args, turns};

/// How many records there are: the figures of the second shall be those of the first.
const SIZES: [usize; 2] = [10_000, 1_000_000];

/// Connections of the clients.
const CONNECTIONS: usize = 64;

/// How many records are read: spread evenly over all there are, so that both sizes ask as often for each.
const READ: usize = 10_000;

/// Who keeps the records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Store {
    /// All six tiers in one process, asked at the service's own port.
    Service,
    /// The same, asked through load balancer and gateway.
    House,
    PocketBase,
}

impl Store {
    const ALL: [Self; 3] = [Self::Service, Self::PocketBase, Self::House];

    fn name(self) -> &'static str {
        match self {
            Self::Service => "sixfold, its service",
            Self::House => "sixfold, whole house",
            Self::PocketBase => "pocketbase",
        }
    }

    /// Starts it over a data folder; gives the address that is asked.
    fn start(self, args: &Args, data: &Path) -> anyhow::Result<(Running, String)> {
        match self {
            Self::Service => sixfold::start(&args.binary, data).map(|house| (house.running, house.service)),
            Self::House => sixfold::start(&args.binary, data).map(|house| (house.running, house.entry)),
            Self::PocketBase => pocketbase::start(&args.peers, data),
        }
    }

    /// The path of all records.
    fn path(self) -> &'static str {
        match self {
            Self::Service | Self::House => sixfold::PATH,
            Self::PocketBase => pocketbase::PATH,
        }
    }

    /// The query of a list, with places for a category's number and a least price.
    fn query(self) -> &'static str {
        match self {
            Self::Service | Self::House => sixfold::QUERY,
            Self::PocketBase => pocketbase::QUERY,
        }
    }
}

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Case {
    Read,
    List,
    Create,
}

impl Case {
    /// Creates come last, because they leave more records behind.
    const ALL: [Self; 3] = [Self::Read, Self::List, Self::Create];

    fn title(self) -> &'static str {
        match self {
            Self::Read => "read by id",
            Self::List => "filtered, ordered list of 30",
            Self::Create => "create",
        }
    }

    /// Writes the script by which wrk asks.
    fn script(self, store: Store, size: usize, folder: &Path) -> anyhow::Result<String> {
        let (path, query) = (store.path(), store.query());
        let request = match self {
            Self::Read => {
                format!("string.format('{path}/%015d', math.random(0, {}) * {})", READ - 1, size / READ)
            }
            Self::List => format!("string.format('{path}{query}', math.random(0, 99), math.random(0, 9000))"),
            Self::Create => format!("'{path}'"),
        };
        let body = match self {
            Self::Create => {
                "string.format('{\"name\":\"lamp %d\",\"price\":%.2f,\"category\":\"c%d\"}', math.random(1, 1000000), \
                 math.random(1, 1000000) / 100, math.random(0, 99))"
            }
            Self::Read | Self::List => "nil",
        };
        let method = if self == Self::Create { "POST" } else { "GET" };
        let text = format!(
            "math.randomseed(os.time())\nwrk.headers['content-type'] = 'application/json'\n\
             request = function() return wrk.format('{method}', {request}, nil, {body}) end\n"
        );
        write(folder, "ask.lua", &text)
    }
}

#[derive(Debug, Default)]
struct Figures {
    rate: Samples,
    cpu_us: Samples,
    p99_ms: Samples,
}

/// Fills both sides once per size, then measures copies of them in alternating rounds.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let mut report = Report::new("Records over HTTP, beside PocketBase");
    report.line(format!("- sixfold: {}", version(&args.binary)));
    report.line(format!("- pocketbase: {}", version(&args.peers.join("pocketbase-bin"))));
    let (rounds, seconds) = (args.rounds(3), args.seconds(4));
    report.line(format!(
        "\n{CONNECTIONS} connections of wrk, one thread; {rounds} alternating rounds of {seconds} s, each on a fresh copy of \
         the filled data; median [least–most]; CPU is of all threads of the store's process. sixfold answers a create \
         after an fsync, PocketBase (synchronous=NORMAL) does not wait for one."
    ));
    let folder = tempfile::tempdir()?;
    let mut medians: Vec<Vec<[f64; 2]>> = Vec::new();
    for size in if args.quick { &SIZES[..1] } else { &SIZES[..] } {
        let filled = folder.path().join(size.to_string());
        fill::fill(args, *size, &filled).with_context(|| format!("filling {size} records"))?;
        let figures = measure(args, *size, &filled, (rounds, seconds), &mut report)?;
        medians.push(figures.iter().flatten().map(|of| [of.rate.median(), of.cpu_us.median()]).collect());
        tabulate(*size, &figures, &mut report);
        std::fs::remove_dir_all(&filled)?;
    }
    if let [few, many] = &medians[..] {
        report.line(format!("\n## {} records beside {}\n", SIZES[1], SIZES[0]));
        let names = Store::ALL.iter().flat_map(|store| Case::ALL.map(|case| (store.name(), case.title())));
        for (((store, case), few), many) in names.zip(few).zip(many) {
            report.line(format!(
                "- {store}, {case}: {:.2} × the rate, {:.2} × the CPU",
                many[0] / few[0],
                many[1] / few[1]
            ));
        }
    }
    report.write(&args.results, "records.md")
}

/// Gives the figures of each case of each store.
fn measure(
    args: &Args,
    size: usize,
    filled: &Path,
    (rounds, seconds): (usize, u64),
    report: &mut Report,
) -> anyhow::Result<[[Figures; 3]; 3]> {
    let mut figures: [[Figures; 3]; 3] = Default::default();
    for round in 1..=rounds {
        for (store, figures) in turns(round, Store::ALL.iter().zip(&mut figures)) {
            let folder = tempfile::tempdir()?;
            let data = folder.path().join("data");
            copy(&fill::of(filled, *store), &data)?;
            let (running, address) = store.start(args, &data)?;
            for (case, figures) in Case::ALL.iter().zip(figures) {
                let script = case.script(*store, size, folder.path())?;
                let url = format!("http://{address}/");
                wrk::run(&url, CONNECTIONS, 1, Some(&script))?; // connections, pools and caches fill
                let before = running.cpu()?;
                let run = wrk::run(&url, CONNECTIONS, seconds, Some(&script))?;
                let cpu_us = (running.cpu()? - before).as_secs_f64() * 1e6 / run.requests as f64;
                let what = format!("{size} records, {}, round {round}, {}", case.title(), store.name());
                report.keep(&format!("{what}, CPU {cpu_us:.1} µs/request"), &run.raw);
                anyhow::ensure!(run.errors == 0, "{what}: {}", run.raw);
                figures.rate.push(run.rate);
                figures.cpu_us.push(cpu_us);
                figures.p99_ms.extend(run.p99.map(|p99| p99.as_secs_f64() * 1e3));
            }
        }
    }
    Ok(figures)
}

fn tabulate(size: usize, figures: &[[Figures; 3]; 3], report: &mut Report) {
    let of = |store: Store| &figures[Store::ALL.iter().position(|one| *one == store).unwrap_or_default()];
    for (index, case) in Case::ALL.iter().enumerate() {
        report.line(format!(
            "\n## {}, {size} records\n\n| | requests/s | CPU µs/request | p99 ms |\n|---|---|---|---|",
            case.title()
        ));
        for store in Store::ALL {
            let Figures { rate, cpu_us, p99_ms } = &of(store)[index];
            report.line(format!(
                "| {} | {} | {} | {} |",
                store.name(),
                rate.show(0),
                cpu_us.show(1),
                p99_ms.show(1)
            ));
        }
        let theirs = &of(Store::PocketBase)[index];
        for ours in [Store::Service, Store::House] {
            let figures = &of(ours)[index];
            report.line(format!(
                "\n{}: {:.2} × PocketBase's rate, {:.2} × its CPU",
                ours.name(),
                figures.rate.median() / theirs.rate.median(),
                figures.cpu_us.median() / theirs.cpu_us.median()
            ));
        }
    }
}

fn version(program: &Path) -> String {
    let output = Command::new(program).arg("--version").output();
    output.map_or_else(
        |error| error.to_string(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    )
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    let status = Command::new("cp").arg("-r").arg(from).arg(to).status()?;
    anyhow::ensure!(status.success(), "cannot copy {}", from.display());
    Ok(())
}
