//! Clusters that change, judged without sockets.

mod members;
mod queueing;
mod silence;
mod standing;

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::standing::Finding;
use super::*;
use crate::dispatch::hedge;
use crate::health::State;
use crate::queue::Overloaded;
use crate::selection::Candidate;

const SECOND: u64 = 1_000_000_000;
const MILLISECOND: u64 = 1_000_000;

fn cluster_of(count: u16, options: Options) -> Arc<Cluster> {
    let names: Vec<String> = (1..=count).map(|port| format!("127.0.0.1:{port}")).collect();
    Cluster::new("test", &names, options)
}

fn backend(cluster: &Cluster, index: usize) -> Arc<Backend> {
    Arc::clone(&cluster.members().backends[index])
}

fn answer(backend: &Arc<Backend>, status: u16, latency_ns: u64, now: u64) {
    backend.begin(now).note_response(status, Some(latency_ns), now);
}

fn available(cluster: &Cluster) -> Vec<bool> {
    cluster.members().backends.iter().map(|one| one.signals().is_available()).collect()
}

fn probe(cluster: &Cluster, index: usize, finding: Finding, now: u64) {
    let health = if finding == Finding::Good { State::Up } else { State::Down };
    cluster.note_probe(&backend(cluster, index), finding, health, now);
}
