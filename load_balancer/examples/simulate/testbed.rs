//! The paper's testbed (NSDI'24 §5): 100 clients, 100 replicas, antagonists that take and give back CPU.
//!
//! What is ours: a replica has ten workers and a queue; its speed is drawn anew every one to nine seconds, 0.8 of the
//! allocation on a contended machine (one in four), 1.0 to 1.6 otherwise. Work is normal with deviation = mean
//! (§5.1), cut off at a twentieth. An answer after 5 s is an error. Each client sees its own requests alone.

use std::collections::VecDeque;

use load_balancer::selection::{Load, Memory, Policy, Signals, Snapshot, choose_backend};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::baselines::{Baseline, View};
use crate::events::{Events, MS, SECOND, exponential, normal};
use crate::summary::Summary;

const CLIENTS: usize = 100;
const REPLICAS: usize = 100;
const WORKERS: usize = 10;
const MEAN_NS: f64 = 20e6;
const WAY_NS: u64 = MS / 10;
const DEADLINE_NS: u64 = 5 * SECOND;
const WARM_UP_NS: u64 = 5 * SECOND;
/// Weighted round robin's weights are made anew so often; YARP polls so often (its default is 15 s; §5.2: 500 ms).
const WEIGH_EVERY_NS: u64 = 2 * SECOND;
const POLL_EVERY_NS: u64 = SECOND / 2;

/// Who chooses.
pub(crate) enum Chooser {
    Library(Policy),
    /// Round robin whose weights are answers per utilisation.
    Weighted,
    Baseline(Baseline),
}

impl Chooser {
    fn probes(&self) -> bool {
        matches!(self, Self::Library(Policy::Prequal { .. }) | Self::Baseline(Baseline::Linear))
    }

    fn learns(&self) -> bool {
        matches!(self, Self::Library(Policy::Latency | Policy::PeakEwma))
    }
}

struct Client {
    memory: Memory,
    signals: Vec<Signals>,
    view: View,
}

struct Replica {
    signals: Signals,
    speed: f64,
    busy: usize,
    waiting: VecDeque<usize>,
    done: f64,
    worked_ns: f64,
}

#[derive(Clone, Copy)]
struct Request {
    client: usize,
    replica: usize,
    sent_ns: u64,
    reached_ns: u64,
    work_ns: f64,
    at_client: u32,
    at_replica: u32,
    load: Load,
}

enum Event {
    Arrive,
    Reach(usize),
    Done(usize),
    Answer(usize),
    Antagonist(usize),
    Probe(usize, usize),
    ProbeAnswer(usize, usize, Load),
    Weigh,
    Poll,
}

/// Runs the testbed at a part of the allocation.
pub(crate) fn run(chooser: &Chooser, load: f64, seconds: u64, seed: u64) -> Summary {
    let mut rng = SmallRng::seed_from_u64(seed);
    let mut choosing = SmallRng::seed_from_u64(seed + 1);
    let mut events = Events::new();
    let mut clients: Vec<Client> = (0..CLIENTS)
        .map(|_| Client {
            memory: Memory::default(),
            signals: (0..REPLICAS).map(|_| Signals::new(1)).collect(),
            view: View::new(REPLICAS),
        })
        .collect();
    let mut replicas: Vec<Replica> = (0..REPLICAS)
        .map(|_| Replica {
            signals: Signals::new(1),
            speed: 1.0,
            busy: 0,
            waiting: VecDeque::new(),
            done: 0.0,
            worked_ns: 0.0,
        })
        .collect();
    let pace_ns = MEAN_NS / (REPLICAS * WORKERS) as f64 / load;
    let end_ns = WARM_UP_NS + seconds * SECOND;
    let mut requests: Vec<Request> = Vec::new();
    let mut free = Vec::new();
    let mut summary = Summary::new(REPLICAS);
    (0..REPLICAS).for_each(|replica| events.plan(0, Event::Antagonist(replica)));
    events.plan(0, Event::Arrive);
    events.plan(WEIGH_EVERY_NS, Event::Weigh);
    events.plan(1, Event::Poll);
    while let Some(event) = events.next() {
        let now = events.now;
        match event {
            Event::Arrive => {
                if now < end_ns {
                    events.plan(now + exponential(pace_ns, &mut rng), Event::Arrive);
                }
                let client = rng.random_range(0..CLIENTS);
                let work_ns = MEAN_NS * (1.0 + normal(&mut rng)).max(0.05) * MEAN_OF_CUT;
                let Client { memory, signals, view } = &mut clients[client];
                let (round, weighted) = (Policy::RoundRobin, matches!(chooser, Chooser::Weighted));
                let replica = match chooser {
                    Chooser::Baseline(baseline) => baseline.choose(view, &mut choosing),
                    Chooser::Library(policy) if !weighted => {
                        library(policy, signals, memory, now, &mut choosing)
                    }
                    _ => library(&round, signals, memory, now, &mut choosing),
                };
                view.in_flight[replica] += 1;
                let at_client = signals[replica].begin(now);
                if chooser.probes() {
                    for _ in 0..3 {
                        let to = choosing.random_range(0..REPLICAS);
                        events.plan(now + WAY_NS, Event::Probe(client, to));
                    }
                }
                let request = Request {
                    client,
                    replica,
                    sent_ns: now,
                    reached_ns: 0,
                    work_ns,
                    at_client,
                    at_replica: 0,
                    load: Load::default(),
                };
                let id = free.pop().unwrap_or_else(|| {
                    requests.push(request);
                    requests.len() - 1
                });
                requests[id] = request;
                events.plan(now + WAY_NS, Event::Reach(id));
            }
            Event::Reach(id) => {
                let replica = &mut replicas[requests[id].replica];
                requests[id].reached_ns = now;
                requests[id].at_replica = replica.signals.begin(now);
                replica.waiting.push_back(id);
                start(replica, &requests, &mut events);
            }
            Event::Done(id) => {
                let request = requests[id];
                let replica = &mut replicas[request.replica];
                replica.busy -= 1;
                replica.done += 1.0;
                replica.signals.end();
                replica.signals.note_answer(now - request.reached_ns, request.at_replica, now);
                requests[id].load = told(&replica.signals, now);
                events.plan(now + WAY_NS, Event::Answer(id));
                start(replica, &requests, &mut events);
            }
            Event::Answer(id) => {
                let request = requests[id];
                free.push(id);
                let latency_ns = now - request.sent_ns;
                let client = &mut clients[request.client];
                client.view.answer(request.replica, latency_ns as f64, request.load);
                client.signals[request.replica].end();
                if chooser.learns() {
                    client.signals[request.replica].note_answer(latency_ns, request.at_client, now);
                    client.signals[request.replica].note_load(request.load, now);
                }
                if request.sent_ns >= WARM_UP_NS {
                    summary.note(request.replica, latency_ns.min(DEADLINE_NS), latency_ns < DEADLINE_NS);
                }
            }
            Event::Antagonist(replica) => {
                let contended = rng.random_bool(0.25);
                replicas[replica].speed = if contended { 0.8 } else { rng.random_range(1.0..1.6) };
                if now < end_ns {
                    events.plan(now + rng.random_range(SECOND..9 * SECOND), Event::Antagonist(replica));
                }
            }
            Event::Probe(client, replica) => {
                let load = told(&replicas[replica].signals, now);
                events.plan(now + WAY_NS, Event::ProbeAnswer(client, replica, load));
            }
            Event::ProbeAnswer(client, replica, load) => {
                let client = &mut clients[client];
                client.memory.note_probe(replica, load, now);
                client.view.probe(replica, load);
            }
            Event::Weigh => {
                if matches!(chooser, Chooser::Weighted) {
                    for (index, replica) in replicas.iter_mut().enumerate() {
                        // Answers per second ÷ utilisation (§2): how much it could do.
                        let weight = replica.done / (replica.worked_ns / MEAN_NS).max(1e-6);
                        clients
                            .iter()
                            .for_each(|client| client.signals[index].set_weight(weight.clamp(0.1, 10.0)));
                        (replica.done, replica.worked_ns) = (0.0, 0.0);
                    }
                }
                if now < end_ns {
                    events.plan(now + WEIGH_EVERY_NS, Event::Weigh);
                }
            }
            Event::Poll => {
                for client in &mut clients {
                    for (polled, replica) in client.view.polled.iter_mut().zip(&replicas) {
                        *polled = f64::from(replica.signals.in_flight());
                    }
                }
                if now < end_ns {
                    events.plan(now + POLL_EVERY_NS, Event::Poll);
                }
            }
        }
    }
    summary
}

/// What keeps the mean of the cut normal distribution at 1: E max(1 + X, 0.05) = 1.088.
const MEAN_OF_CUT: f64 = 1.0 / 1.088;

fn told(signals: &Signals, now_ns: u64) -> Load {
    let in_flight = signals.in_flight();
    Load { in_flight, latency_ns: signals.latency_near_ns(in_flight + 1, now_ns) as u64 }
}

fn library(policy: &Policy, backends: &[Signals], memory: &Memory, now: u64, rng: &mut SmallRng) -> usize {
    let snapshot = Snapshot::plain(backends, policy, memory);
    choose_backend(&snapshot, now, rng).map_or(0, |choice| choice.index)
}

fn start(replica: &mut Replica, requests: &[Request], events: &mut Events<Event>) {
    while replica.busy < WORKERS
        && let Some(id) = replica.waiting.pop_front()
    {
        replica.busy += 1;
        let took_ns = requests[id].work_ns / replica.speed;
        replica.worked_ns += took_ns;
        events.plan(events.now + took_ns as u64, Event::Done(id));
    }
}
