//! The load balancer beside HAProxy and nginx: one thread each, 64 keep-alive connections, 150-byte answers.

use crate::Args;
use crate::peers::{Peer, start_backend};
use crate::report::{Report, Samples};
use crate::wrk;

/// Keep-alive connections of the client.
const CONNECTIONS: usize = 64;

/// The size of the answer's body in bytes.
const ANSWER_SIZE: usize = 150;

#[derive(Default)]
struct Figures {
    cpu_us: Samples,
    rate: Samples,
    p99_ms: Samples,
    errors: u64,
}

/// Measures every peer once a round, in turn, and prints medians and ratios.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let mut report =
        Report::new("Load balancer: CPU per request, one thread, 64 connections, 150-byte answers");
    let folder = tempfile::tempdir()?;
    let (_backend, backend_port) = start_backend(folder.path(), ANSWER_SIZE)?;
    let mut figures = Peer::ALL.map(|_| Figures::default());
    for round in 0..=args.rounds {
        for (peer, figures) in Peer::ALL.into_iter().zip(&mut figures) {
            let (running, port) = peer.start(&args.binary, folder.path(), backend_port)?;
            let url = format!("http://127.0.0.1:{port}/");
            wrk::run(&url, CONNECTIONS, 1)?; // connections and pools are made before counting
            let before = running.cpu()?;
            let run = wrk::run(&url, CONNECTIONS, args.seconds)?;
            let used = running.cpu()? - before;
            if round == 0 {
                continue; // caches of the machine warm up
            }
            figures.cpu_us.push(used.as_secs_f64() * 1e6 / run.requests as f64);
            figures.rate.push(run.rate);
            figures.p99_ms.push(run.p99.as_secs_f64() * 1e3);
            figures.errors += run.errors;
            report.keep(&format!("round {round}, {}, CPU {used:?}", peer.name()), &run.raw);
        }
    }
    report.line(format!("{} rounds of {} s, alternating; median [least–most]\n", args.rounds, args.seconds));
    report.line("| | CPU µs/request | requests/s | p99 ms | errors |\n|---|---|---|---|---|");
    for (peer, figures) in Peer::ALL.iter().zip(&figures) {
        report.line(format!(
            "| {} | {} | {} | {} | {} |",
            peer.name(),
            figures.cpu_us.show(1),
            figures.rate.show(0),
            figures.p99_ms.show(2),
            figures.errors
        ));
    }
    let cost = |figures: &Figures| figures.cpu_us.median();
    let [ours, others @ ..] = &figures;
    let [_, names @ ..] = Peer::ALL;
    let ratios: Vec<String> = names
        .iter()
        .zip(others)
        .map(|(peer, theirs)| format!("{:.2} × {}", cost(ours) / cost(theirs), peer.name()))
        .collect();
    report.line(format!("\nsixfold's CPU per request (medians): {}", ratios.join(", ")));
    report.write(&args.results, "balancer.md")
}
