//! A small fleet: one to three balancers before five gateways, each of which works on eight requests at a time.

use std::time::Duration;

use load_balancer::hedge;
use load_balancer::selection::{Load, Maglev, Memory, Policy, Signals, Snapshot, choose_backend};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::events::{Events, MS, SECOND, exponential, normal};
use crate::gateway::{AT_A_TIME, Fault, Gateway};
use crate::hedging::Hedging;
use crate::summary::Summary;

const GATEWAYS: usize = 5;

/// The median of a request's work, and the deviation of its logarithm: the 99th percentile is 3.2 medians.
const MEDIAN_NS: f64 = 2e6;
const SIGMA: f64 = 0.5;

/// One way between a balancer and a gateway: a local network.
const WAY_NS: u64 = MS / 20;

/// What a probe or an answer of 500 takes at the gateway.
const TRIFLE_NS: u64 = MS / 10;

/// After so long the simulator looks no more: a policy that fails has tens of thousands that wait.
const HOPELESS_NS: u64 = SECOND / 2;

/// The interval of probes, `[load_balancer.health]`.
const PROBE_EVERY_NS: u64 = SECOND;

/// The time before measuring begins.
const WARM_UP_NS: u64 = 2 * SECOND;

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
    /// Whether late requests are sent to a second gateway, as the balancer does unless told otherwise.
    pub(crate) hedges: bool,
    pub(crate) seconds: u64,
    pub(crate) seed: u64,
}

struct Balancer {
    signals: Vec<Signals>,
    memory: Memory,
    hedging: Hedging,
}

/// One attempt at a request. A gateway goes on with what was given up.
#[derive(Clone, Copy, Default)]
struct Request {
    balancer: usize,
    gateway: usize,
    sent_ns: u64,
    /// When the client sent it; earlier than `sent_ns` for a hedge.
    asked_ns: u64,
    /// The other attempt at the same request, while both run.
    rival: Option<usize>,
    is_given_up: bool,
    /// Grows with each request that uses this place in the list.
    turn: u64,
    in_flight: u32,
    /// What it takes at a good gateway.
    work_ns: f64,
    fails: bool,
    load: Load,
}

enum Event {
    Arrive,
    /// The attempt may be late, if it is still the one of that turn.
    Late {
        id: usize,
        turn: u64,
    },
    FindUsual,
    Reach(usize),
    Done(usize),
    Answer(usize),
    Probe {
        balancer: usize,
        gateway: usize,
    },
    ProbeAnswer {
        balancer: usize,
        gateway: usize,
        latency_ns: u64,
    },
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
    let mut balancers: Vec<Balancer> = (0..setting.balancers)
        .map(|_| Balancer {
            signals: (0..GATEWAYS).map(|_| Signals::new(1)).collect(),
            memory: Memory::default(),
            hedging: Hedging::default(),
        })
        .collect();
    let table = Maglev::new(["a", "b", "c", "d", "e"].map(|name| (name, 1.0)));
    let mut gateways: Vec<Gateway> = (0..GATEWAYS).map(|_| Gateway::default()).collect();
    let mut requests: Vec<Request> = Vec::new();
    let mut free: Vec<usize> = Vec::new();
    let mut summary = Summary::new(GATEWAYS);
    let end_ns = WARM_UP_NS + setting.seconds * SECOND;
    let fault = |gateway: usize| if gateway + 1 == GATEWAYS { setting.fault } else { Fault::None };

    events.plan(0, Event::Arrive);
    events.plan(SECOND, Event::FindUsual);
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
                balancers[balancer].hedging.note_request();
                let key = choosing.random();
                let Some(gateway) =
                    choose(setting, &balancers[balancer], &table, &[], key, now, &mut choosing)
                else {
                    continue;
                };
                let request = Request { balancer, gateway, work_ns, asked_ns: now, ..Request::default() };
                let id = begin(request, &balancers, &mut requests, &mut free, now);
                events.plan(now + WAY_NS, Event::Reach(id));
                if let Some(delay_ns) = balancers[balancer].hedging.delay_ns().filter(|_| setting.hedges) {
                    events.plan(now + delay_ns, Event::Late { id, turn: requests[id].turn });
                }
            }
            Event::Late { id, turn } => {
                let first = requests[id];
                if first.turn != turn || first.is_given_up {
                    continue;
                }
                let key = choosing.random();
                let balancer = &mut balancers[first.balancer];
                let other = choose(setting, balancer, &table, &[first.gateway], key, now, &mut choosing);
                let waited_ns = now - first.sent_ns;
                let waited = Duration::from_nanos(waited_ns);
                let is_of_use =
                    |gateway: &usize| hedge::is_of_use(waited, balancer.signals[*gateway].latency_ns());
                let other = other.filter(is_of_use).filter(|_| balancer.hedging.spend());
                let Some(gateway) = other else {
                    if waited_ns < HOPELESS_NS {
                        let next_ns = hedge::next_look(waited).as_nanos() as u64;
                        events.plan(now + next_ns, Event::Late { id, turn });
                    }
                    continue;
                };
                let work_ns = MEDIAN_NS * (SIGMA * normal(&mut choosing)).exp();
                let hedge = Request { gateway, work_ns, rival: Some(id), ..first };
                let hedge = begin(hedge, &balancers, &mut requests, &mut free, now);
                requests[id].rival = Some(hedge);
                events.plan(now + WAY_NS, Event::Reach(hedge));
            }
            Event::FindUsual => {
                if now < end_ns {
                    events.plan(now + SECOND, Event::FindUsual);
                }
                balancers.iter_mut().for_each(|balancer| balancer.hedging.find_usual());
            }
            Event::Reach(id) => {
                let gateway = requests[id].gateway;
                if fault(gateway) == Fault::Failing {
                    requests[id].fails = true;
                    events.plan(now + TRIFLE_NS + WAY_NS, Event::Answer(id));
                } else {
                    gateways[gateway].queue(id);
                    start(&mut gateways[gateway], fault(gateway), &requests, &mut events);
                }
            }
            Event::Done(id) => {
                let gateway = requests[id].gateway;
                requests[id].load = Load { in_flight: gateways[gateway].end(), latency_ns: 0 };
                events.plan(now + WAY_NS, Event::Answer(id));
                start(&mut gateways[gateway], fault(gateway), &requests, &mut events);
            }
            Event::Answer(id) => {
                let request = requests[id];
                requests[id].turn += 1;
                free.push(id);
                if request.is_given_up {
                    continue;
                }
                let signals = &balancers[request.balancer].signals;
                if let Some(rival) = request.rival {
                    let rival = &mut requests[rival];
                    rival.is_given_up = true;
                    signals[rival.gateway].end();
                    signals[rival.gateway].note_given_up(now - rival.sent_ns, rival.in_flight, now);
                }
                let (signals, latency_ns) = (&signals[request.gateway], now - request.sent_ns);
                signals.end();
                if request.fails {
                    signals.note_failure(now);
                } else {
                    signals.note_answer(latency_ns, request.in_flight, now);
                    balancers[request.balancer].hedging.note_answer(latency_ns);
                }
                if setting.tells_load {
                    balancers[request.balancer].signals[request.gateway].note_load(request.load, now);
                }
                if request.asked_ns >= WARM_UP_NS {
                    summary.note(request.gateway, now - request.asked_ns, !request.fails);
                }
            }
            Event::Probe { balancer, gateway } => {
                if now < end_ns {
                    events.plan(
                        now + PROBE_EVERY_NS * choosing.random_range(95..106) / 100,
                        Event::Probe { balancer, gateway },
                    );
                }
                let done = fault(gateway).done_at(now + WAY_NS, TRIFLE_NS as f64);
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

/// Chooses a gateway for a request, none of the excluded ones.
fn choose(
    setting: &Setting<'_>,
    balancer: &Balancer,
    table: &Maglev,
    excluded: &[usize],
    key: u64,
    now: u64,
    choosing: &mut SmallRng,
) -> Option<usize> {
    let snapshot = Snapshot {
        backends: &balancer.signals,
        policy: setting.policy,
        memory: &balancer.memory,
        excluded,
        key: Some(key),
        sticky: None,
        table: setting.policy.hashes().then_some(table),
        balance_factor: setting.balance_factor,
        is_repeatable: true,
    };
    choose_backend(&snapshot, now, choosing).map(|choice| choice.index)
}

/// Counts an attempt in and gives its place in the list.
fn begin(
    mut request: Request,
    balancers: &[Balancer],
    requests: &mut Vec<Request>,
    free: &mut Vec<usize>,
    now: u64,
) -> usize {
    request.sent_ns = now;
    request.in_flight = balancers[request.balancer].signals[request.gateway].begin(now);
    let id = free.pop().unwrap_or_else(|| {
        requests.push(Request::default());
        requests.len() - 1
    });
    request.turn = requests[id].turn;
    requests[id] = request;
    id
}

/// Begins what is waiting at a gateway, as long as there is room.
fn start(gateway: &mut Gateway, fault: Fault, requests: &[Request], events: &mut Events<Event>) {
    while let Some(id) = gateway.begin_next() {
        let done = fault.done_at(events.now, requests[id].work_ns);
        events.plan(done, Event::Done(id));
    }
}
