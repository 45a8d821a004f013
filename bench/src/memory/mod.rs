//! Resident memory: of large bodies passing through, and of connections that wait.

mod connections;
mod transfer;

use crate::Args;
use crate::peers::{Peer, Setup};
use crate::processes::Place;
use crate::report::Report;

/// What one of the two is measured in.
const MIB: f64 = (1 << 20) as f64;

/// Measures both of every load balancer.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let mut report = Report::new("Memory: large bodies and idle connections, one thread");
    let folder = tempfile::tempdir()?;
    let setup = Setup {
        binary: &args.binary,
        beside: None,
        peers: &args.peers,
        folder: folder.path(),
        backends: &[],
        certificate: None,
        http2: false,
        place: Place::Anywhere,
    };
    for peer in Peer::FOUR {
        report.line(format!("- {}: {}", peer.name(), peer.version(&setup)));
    }
    transfer::run(args, &setup, &mut report)?;
    connections::run(args, &setup, &mut report)?;
    report.write(&args.results, "memory.md")
}
