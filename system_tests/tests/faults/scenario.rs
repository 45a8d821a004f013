//! One run of one fault: backends, a balancer, a load, and what is done to them.

use std::fs::File;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use system_tests::Alone;
use system_tests::load::Load;

use crate::backends::{Backend, wait_until};
use crate::ledger::{self, Hole, Tally};

/// Requests a second where nothing else is said.
pub(crate) const RATE: u64 = 1000;

/// Probes often, so that a scenario takes seconds; all else is as by default.
pub(crate) const BALANCER: &str = "[load_balancer.health]\ninterval = \"200ms\"\ntimeout = \"500ms\"\n";

/// What a scenario acts on.
pub(crate) struct Stage {
    pub(crate) backends: Vec<Backend>,
    pub(crate) balancer: Alone,
    pub(crate) load: Load,
    pub(crate) hole: Option<Hole>,
    /// Whether no backend comes to harm, so that no `POST` may fail either.
    pub(crate) is_harmless: bool,
    folder: tempfile::TempDir,
}

/// What stands behind the balancer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Behind {
    /// Five light backends.
    Light,
    /// Five real gateways, and one light backend as their service.
    Gateways,
}

/// Runs a scenario as often as asked and checks the bar.
pub(crate) fn run(name: &str, behind: Behind, keys: &str, act: impl Fn(&mut Stage)) {
    run_at(RATE, name, behind, keys, act);
}

/// Runs a scenario at a rate of its own where no other is asked for.
pub(crate) fn run_at(rate: u64, name: &str, behind: Behind, keys: &str, act: impl Fn(&mut Stage)) {
    let _turn = take_turn();
    let asked = |key: &str| std::env::var(key).ok().map(|text| text.parse::<u64>().expect("a number"));
    let runs = asked("SIXFOLD_FAULT_RUNS").unwrap_or(1);
    let rate = match behind {
        Behind::Light => asked("SIXFOLD_FAULT_RATE").unwrap_or(rate),
        // Seven processes of ours on two cores: what they bear.
        Behind::Gateways => RATE / 3,
    };
    let mut tally = Tally::default();
    for _ in 0..runs {
        let mut stage = Stage::start(behind, keys, rate);
        stage.play_for(Duration::from_secs(1));
        act(&mut stage);
        stage.play_for(Duration::from_secs(1));
        let Stage { load, balancer, folder, hole, is_harmless, .. } = stage;
        tally.is_harmless = is_harmless;
        let failed = tally.failed_idempotent;
        tally.add(&load.finish(), &folder.path().join("ledgers"), hole);
        if tally.failed_idempotent > failed {
            tally.examples.push(balancer.log());
        }
    }
    tally.check(name);
}

impl Stage {
    fn start(behind: Behind, keys: &str, rate: u64) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let ledgers = folder.path().join("ledgers");
        std::fs::create_dir(&ledgers).expect("a folder");
        let light = |index: usize| Backend::light(ledgers.join(index.to_string()));
        let mut backends: Vec<Backend> = match behind {
            Behind::Light => (0..5).map(light).collect(),
            Behind::Gateways => {
                let service = light(5);
                let mut all: Vec<Backend> = (0..5).map(|_| Backend::gateway(service.address())).collect();
                all.push(service);
                all
            }
        };
        let addresses: Vec<SocketAddr> = backends.iter().take(5).map(Backend::address).collect();
        let balancer = Alone::balancer(&addresses, &format!("{BALANCER}\n{keys}"));
        backends.shrink_to_fit();
        let load = Load::start(balancer.address, rate);
        let stage = Self { backends, balancer, load, hole: None, is_harmless: false, folder };
        wait_until("the balancer answers", || stage.load.good() > 0);
        stage
    }

    /// Lets the load go on.
    pub(crate) fn play_for(&self, time: Duration) {
        std::thread::sleep(time);
    }

    /// Waits until the load is answered again.
    pub(crate) fn wait_for_answers(&self, count: u64) {
        let target = self.load.good() + count;
        wait_until("requests are answered", || self.load.good() >= target);
    }

    /// Gives the ledger of a light backend.
    pub(crate) fn ledger(&self, index: usize) -> PathBuf {
        self.folder.path().join("ledgers").join(index.to_string())
    }

    /// Waits until a backend that came back gets requests.
    pub(crate) fn wait_until_asked(&self, index: usize) {
        let ledger = self.ledger(index);
        let before = ledger::lines(&ledger);
        wait_until("the backend is asked again", || ledger::lines(&ledger) > before);
    }
}

/// Waits for one's turn: two loads at a time would measure each other.
fn take_turn() -> File {
    let lock = File::create(std::env::temp_dir().join("sixfold-test-faults")).expect("a lock file");
    lock.lock().expect("a lock");
    lock
}
