//! Five backends as processes of their own, and the ledgers they keep.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use system_tests::{Alone, free_port, local, send_signal, wait_for_end};

/// How long a process may take to begin or to get traffic.
const PATIENCE: Duration = Duration::from_secs(60);

/// A light backend, or a real gateway before one.
pub(crate) enum Backend {
    Light { address: SocketAddr, ledger: PathBuf, process: Child },
    Gateway(Box<Alone>),
}

impl Backend {
    pub(crate) fn light(ledger: PathBuf) -> Self {
        let address = local(free_port());
        let process = spawn(address, &ledger);
        let backend = Self::Light { address, ledger, process };
        backend.wait_until_it_listens();
        backend
    }

    /// Starts a gateway whose service is a light backend.
    pub(crate) fn gateway(service: SocketAddr) -> Self {
        Self::Gateway(Box::new(Alone::gateway(service, "[process]\ngrace = \"5s\"\n")))
    }

    pub(crate) fn address(&self) -> SocketAddr {
        match self {
            Self::Light { address, .. } => *address,
            Self::Gateway(gateway) => gateway.address,
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        match self {
            Self::Light { process, .. } => send_signal(process, signal),
            Self::Gateway(gateway) => gateway.signal(signal),
        }
    }

    pub(crate) fn kill(&mut self) {
        match self {
            Self::Light { process, .. } => {
                process.kill().expect("it can be killed");
                process.wait().expect("it ends");
            }
            Self::Gateway(gateway) => gateway.kill(),
        }
    }

    /// Stops it as its owner would, and waits until it ended.
    pub(crate) fn stop(&mut self) {
        match self {
            Self::Light { process, .. } => {
                send_signal(process, Signal::TERM);
                assert!(wait_for_end(process).success());
            }
            Self::Gateway(gateway) => assert!(gateway.stop().success(), "{}", gateway.log()),
        }
    }

    pub(crate) fn start_again(&mut self) {
        match self {
            Self::Light { address, ledger, process } => {
                *process = spawn(*address, ledger);
                self.wait_until_it_listens();
            }
            Self::Gateway(gateway) => gateway.start_again(),
        }
    }

    fn wait_until_it_listens(&self) {
        wait_until("a backend listens", || std::net::TcpStream::connect(self.address()).is_ok());
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        if let Self::Light { process, .. } = self {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

fn spawn(address: SocketAddr, ledger: &Path) -> Child {
    Command::new(env!("CARGO_BIN_EXE_recording_backend"))
        .arg(address.to_string())
        .arg(ledger)
        .stdin(Stdio::null())
        .spawn()
        .expect("the backend starts")
}

/// Waits until a condition holds; it fails the test when it does not come true.
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
