//! A small fleet: one to three balancers before five gateways, each of which works on eight requests at a time.

use std::collections::VecDeque;

use load_balancer::selection::{Load, Maglev, Memory, Policy, Signals, Snapshot, choose_backend};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::events::{Events, MS, SECOND, exponential, normal};
use crate::summary::Summary;

const GATEWAYS: usize = 5;

/// Requests a gateway works on at a time; others wait in turn.
const AT_A_TIME: usize = 8;

/// The median of a request's work, and the deviation of its logarithm: the 99th percentile is 3.2 medians.
const MEDIAN_NS: f64 = 2e6;
const SIGMA: f64 = 0.5;

/// One way between a balancer and a gateway: a local network.
const WAY_NS: u64 = MS / 20;

/// What a probe or an answer of 500 takes at the gateway.
const TRIFLE_NS: u64 = MS / 10;

/// The interval of probes, `[load_balancer.health]`.
const PROBE_EVERY_NS: u64 = SECOND;

/// The time before measuring begins.
const WARM_UP_NS: u64 = 2 * SECOND;

/// What is the matter with the last gateway.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Fault {
    None,
    /// It takes this many times as long.
    Slow(f64),
    /// It answers 500 at once.
    Failing,
    /// It stands still for 200 ms of every second.
    Stalling,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::None => f.write_str("All equal"),
            Self::Slow(times) => write!(f, "One {times} times slower"),
            Self::Failing => f.write_str("One failing at once"),
            Self::Stalling => f.write_str("One stalling 200 ms in every second"),
        }
    }
}

impl Fault {
    /// The part of a good gateway's work it can do.
    fn capacity(self) -> f64 {
        match self {
            Self::None => 1.0,
            Self::Slow(times) => 1.0 / times,
            Self::Failing => 0.0,
            Self::Stalling => 0.8,
        }
    }
}

/// One run.
pub(crate) struct Setting<'a> {
    pub(crate) fault: Fault,
    /// Part of what the gateways together can do.
    pub(crate) load: f64,
    pub(crate) balancers: usize,
    pub(crate) policy: &'a Policy,
    /// How uneven a policy that hashes may be.
    pub(crate) balance_factor: Option<f64>,
    /// Whether gateways tell their load in answers (`Sixfold-Load`).
    pub(crate) tells_load: bool,
    pub(crate) seconds: u64,
    pub(crate) seed: u64,
}

struct Balancer {
    signals: Vec<Signals>,
    memory: Memory,
}

#[derive(Clone, Copy, Default)]
struct Request {
    balancer: usize,
    gateway: usize,
    sent_ns: u64,
    in_flight: u32,
    /// What it takes at a good gateway.
    work_ns: f64,
    fails: bool,
    load: Load,
}

#[derive(Default)]
struct Gateway {
    busy: usize,
    waiting: VecDeque<usize>,
}

enum Event {
    Arrive,
    Reach(usize),
    Done(usize),
    Answer(usize),
    Probe { balancer: usize, gateway: usize },
    ProbeAnswer { balancer: usize, gateway: usize, latency_ns: u64 },
}

/// Runs a setting.
pub(crate) fn run(setting: &Setting<'_>) -> Summary {
    // Requests and their work come from a source of their own: all policies see the same.
    let mut rng = SmallRng::seed_from_u64(setting.seed);
    let mut choosing = SmallRng::seed_from_u64(setting.seed + 1);
    let mut events = Events::new();
    let mean_ns = MEDIAN_NS * (SIGMA * SIGMA / 2.0).exp();
    let capacity = (GATEWAYS - 1) as f64 + setting.fault.capacity();
    let pace_ns = mean_ns / (AT_A_TIME as f64 * capacity * setting.load);
    let balancers: Vec<Balancer> = (0..setting.balancers)
        .map(|_| Balancer {
            signals: (0..GATEWAYS).map(|_| Signals::new(1)).collect(),
            memory: Memory::default(),
        })
        .collect();
    let table = Maglev::new(["a", "b", "c", "d", "e"].map(|name| (name, 1.0)));
    let mut gateways: Vec<Gateway> = (0..GATEWAYS).map(|_| Gateway::default()).collect();
    let mut requests: Vec<Request> = Vec::new();
    let mut free: Vec<usize> = Vec::new();
    let mut summary = Summary::new(GATEWAYS);
    let end_ns = WARM_UP_NS + setting.seconds * SECOND;
    let fault = |gateway: usize| if gateway + 1 == GATEWAYS { setting.fault } else { Fault::None };
    let times = |gateway: usize| if let Fault::Slow(times) = fault(gateway) { times } else { 1.0 };

    events.plan(0, Event::Arrive);
    for balancer in 0..setting.balancers {
        for gateway in 0..GATEWAYS {
            events.plan(rng.random_range(0..PROBE_EVERY_NS), Event::Probe { balancer, gateway });
        }
    }
    while let Some(event) = events.next() {
        let now = events.now;
        match event {
            Event::Arrive => {
                if now < end_ns {
                    events.plan(now + exponential(pace_ns, &mut rng), Event::Arrive);
                }
                let balancer = rng.random_range(0..balancers.len());
                let work_ns = MEDIAN_NS * (SIGMA * normal(&mut rng)).exp();
                let Balancer { signals, memory } = &balancers[balancer];
                let snapshot = Snapshot {
                    backends: signals,
                    policy: setting.policy,
                    memory,
                    excluded: &[],
                    key: Some(choosing.random()),
                    sticky: None,
                    table: setting.policy.hashes().then_some(&table),
                    balance_factor: setting.balance_factor,
                    panic: false,
                };
                let Some(choice) = choose_backend(&snapshot, now, &mut choosing) else { continue };
                let gateway = choice.index;
                let in_flight = signals[gateway].begin(now);
                let request =
                    Request { balancer, gateway, sent_ns: now, in_flight, work_ns, ..Request::default() };
                let id = free.pop().unwrap_or_else(|| {
                    requests.push(request);
                    requests.len() - 1
                });
                requests[id] = request;
                events.plan(now + WAY_NS, Event::Reach(id));
            }
            Event::Reach(id) => {
                let gateway = requests[id].gateway;
                if fault(gateway) == Fault::Failing {
                    requests[id].fails = true;
                    events.plan(now + TRIFLE_NS + WAY_NS, Event::Answer(id));
                } else {
                    gateways[gateway].waiting.push_back(id);
                    start(&mut gateways[gateway], fault(gateway), times(gateway), &requests, &mut events);
                }
            }
            Event::Done(id) => {
                let gateway = requests[id].gateway;
                gateways[gateway].busy -= 1;
                let in_flight = (gateways[gateway].busy + gateways[gateway].waiting.len()) as u32;
                requests[id].load = Load { in_flight, latency_ns: 0 };
                events.plan(now + WAY_NS, Event::Answer(id));
                start(&mut gateways[gateway], fault(gateway), times(gateway), &requests, &mut events);
            }
            Event::Answer(id) => {
                let request = requests[id];
                free.push(id);
                let signals = &balancers[request.balancer].signals[request.gateway];
                let latency_ns = now - request.sent_ns;
                signals.end();
                if request.fails {
                    signals.note_failure(now);
                } else {
                    signals.note_answer(latency_ns, request.in_flight, now);
                }
                if setting.tells_load {
                    signals.note_load(request.load, now);
                }
                if request.sent_ns >= WARM_UP_NS {
                    summary.note(request.gateway, latency_ns, !request.fails);
                }
            }
            Event::Probe { balancer, gateway } => {
                if now < end_ns {
                    events.plan(
                        now + PROBE_EVERY_NS * choosing.random_range(95..106) / 100,
                        Event::Probe { balancer, gateway },
                    );
                }
                let work = (TRIFLE_NS as f64 * times(gateway)) as u64;
                let done = if fault(gateway) == Fault::Stalling {
                    awake(now + WAY_NS, work)
                } else {
                    now + WAY_NS + work
                };
                let latency_ns = done + WAY_NS - now;
                events.plan(done + WAY_NS, Event::ProbeAnswer { balancer, gateway, latency_ns });
            }
            Event::ProbeAnswer { balancer, gateway, latency_ns } => {
                balancers[balancer].signals[gateway].note_probe(latency_ns, now);
            }
        }
    }
    summary
}

/// Begins what is waiting, as long as there is room.
fn start(gateway: &mut Gateway, fault: Fault, times: f64, requests: &[Request], events: &mut Events<Event>) {
    while gateway.busy < AT_A_TIME
        && let Some(id) = gateway.waiting.pop_front()
    {
        gateway.busy += 1;
        let work = (requests[id].work_ns * times) as u64;
        let now = events.now;
        let done = if fault == Fault::Stalling { awake(now, work) } else { now + work };
        events.plan(done, Event::Done(id));
    }
}

/// Gives when work that begins at a time is done by a gateway that stands still in the first 200 ms of each second.
fn awake(from_ns: u64, work_ns: u64) -> u64 {
    let (mut now, mut left) = (from_ns, work_ns);
    loop {
        let second = now / SECOND * SECOND;
        now = now.max(second + 200 * MS);
        let until = second + SECOND;
        if now + left <= until {
            return now + left;
        }
        left -= until - now;
        now = until;
    }
}
