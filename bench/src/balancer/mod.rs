//! The load balancer beside HAProxy, nginx and Envoy: CPU per request with one thread each, then latency.

mod cases;
mod latency;

use crate::certificate::Certificate;
use crate::peers::{Peer, Setup, start_backend};
use crate::processes::Place;
use crate::report::{Report, Samples};
use crate::{Args, turns};
use cases::{Case, Load};

/// Characters of a failure that the table shows; all of it is below.
const LONGEST_FAULT: usize = 300;

#[derive(Debug, Default)]
struct Figures {
    cpu_us: Samples,
    rate: Samples,
    p99_ms: Samples,
    errors: u64,
    /// Why it could not be measured.
    fault: Option<String>,
}

/// Measures the cases that are named, or all, and prints medians and ratios.
pub(crate) fn run(args: &Args, only: &[String], rate: Option<f64>) -> anyhow::Result<()> {
    let mut report =
        Report::new("Load balancer: CPU per request with one thread, and latency at a fixed rate");
    let is_wanted = |name: &str| only.is_empty() || only.iter().any(|only| only == name);
    if let Some(unknown) = only.iter().find(|only| !is_known(only)) {
        anyhow::bail!("there is no case `{unknown}`; see bench balancer --help");
    }
    let folder = tempfile::tempdir()?;
    let certificate = Certificate::make(folder.path())?;
    let setup = Setup {
        binary: &args.binary,
        beside: args.beside.as_deref(),
        peers: &args.peers,
        folder: folder.path(),
        backends: &[],
        certificate: None,
        http2: false,
        place: Place::Anywhere,
    };
    for peer in Peer::ALL.into_iter().filter(|peer| peer.is_plain()) {
        report.line(format!("- {}: {}", peer.name(), peer.version(&setup)));
    }
    report.line(
        "\nmedian [least–most] of alternating rounds; CPU is user and system time of the proxy's processes",
    );
    for case in cases::ALL.iter().filter(|case| is_wanted(case.name)) {
        measure(args, case, &setup, &certificate, &mut report)?;
    }
    if is_wanted("latency") {
        latency::run(args, &setup, rate, &mut report)?;
    }
    report.write(&args.results, "balancer.md")
}

fn is_known(name: &str) -> bool {
    name == "latency" || cases::ALL.iter().any(|case| case.name == name)
}

fn measure(
    args: &Args,
    case: &Case,
    setup: &Setup<'_>,
    certificate: &Certificate,
    report: &mut Report,
) -> anyhow::Result<()> {
    let (rounds, seconds) =
        if case.is_main { (args.rounds(7), args.seconds(4)) } else { (args.rounds(3), args.seconds(3)) };
    let (_backend, backend) = start_backend(setup.folder, case.answer, Place::Anywhere)?;
    let setup = Setup {
        backends: &[backend],
        certificate: case.tls.then_some(certificate),
        http2: case.load == Load::Http2,
        ..*setup
    };
    let peers = args.peers_of(case.peers);
    let mut figures: Vec<Figures> = peers.iter().map(|_| Figures::default()).collect();
    // In the round before the first the machine's caches warm up.
    let first = usize::from(!case.is_main || args.quick);
    for round in first..=rounds {
        for (peer, figures) in turns(round, peers.iter().zip(&mut figures)) {
            let what = format!("{}, round {round}, {}", case.name, peer.name());
            match one_run(case, *peer, &setup, certificate, seconds) {
                Ok((cpu_us, run)) => {
                    report.keep(&format!("{what}, CPU {cpu_us:.2} µs/request"), &run.raw);
                    if round > 0 {
                        figures.cpu_us.push(cpu_us);
                        figures.rate.push(run.rate);
                        figures.p99_ms.extend(run.p99.map(|p99| p99.as_secs_f64() * 1e3));
                        figures.errors += run.errors;
                    }
                }
                Err(error) => {
                    report.keep(&what, &format!("{error:#}\n"));
                    let fault = format!("{error:#}").replace('\n', " ");
                    figures.fault = Some(fault.chars().take(LONGEST_FAULT).collect());
                }
            }
        }
    }
    report.line(format!(
        "\n## {} (`{}`; {rounds} rounds of {seconds} s)\n\n\
         | | CPU µs/request | requests/s | p99 ms | errors |\n|---|---|---|---|---|",
        case.title, case.name
    ));
    for (peer, figures) in peers.iter().zip(&figures) {
        report.line(figures.row(peer.name()));
    }
    let ratios = compare(&peers, &figures);
    report.line(format!("\nsixfold's CPU per request (medians): {}", ratios.join(", ")));
    Ok(())
}

fn one_run(
    case: &Case,
    peer: Peer,
    setup: &Setup<'_>,
    certificate: &Certificate,
    seconds: u64,
) -> anyhow::Result<(f64, crate::load::Run)> {
    let (running, port) = peer.start(setup)?;
    case.run(setup.folder, port, certificate, 1)?; // connections and pools are made before counting
    let before = running.cpu()?;
    let run = case.run(setup.folder, port, certificate, seconds)?;
    let used = running.cpu()? - before;
    anyhow::ensure!(run.requests > 0, "no request was answered: {}", run.raw);
    Ok((used.as_secs_f64() * 1e6 / run.requests as f64, run))
}

impl Figures {
    fn row(&self, name: &str) -> String {
        if let Some(fault) = &self.fault {
            return format!("| {name} | could not be measured: {fault} | | | |");
        }
        let p99 = if self.p99_ms.is_empty() { "–".to_owned() } else { self.p99_ms.show(2) };
        format!("| {name} | {} | {} | {p99} | {} |", self.cpu_us.show(1), self.rate.show(0), self.errors)
    }
}

/// Says what sixfold, the first, costs in multiples of each of the others.
fn compare(peers: &[Peer], figures: &[Figures]) -> Vec<String> {
    let cost = |figures: &Figures| figures.cpu_us.median();
    let ours = figures.first().map_or(f64::NAN, cost);
    let others = peers.iter().zip(figures).skip(1);
    others.map(|(peer, theirs)| format!("{:.2} × {}", ours / cost(theirs), peer.name())).collect()
}
