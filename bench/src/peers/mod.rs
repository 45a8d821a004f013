//! The load balancers that are compared, each with one thread, keep-alive on both sides and no access log.

mod envoy;
mod haproxy;
mod nginx;
mod sixfold;

use std::path::Path;
use std::process::Command;

use anyhow::Context;

pub(crate) use nginx::start_backend;

use crate::certificate::Certificate;
use crate::processes::{Place, Running, free_port};

/// One load balancer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peer {
    Sixfold,
    /// Another binary of it, as of before a change.
    SixfoldBeside,
    /// HAProxy 2.6 as Debian ships it.
    HaProxyDebian,
    /// The same writing the fields sixfold writes by default: who asked, `Via`, a trace and a request ID.
    HaProxyDebianSameFields,
    /// HAProxy 2.8.
    HaProxy,
    HaProxySameFields,
    /// HAProxy 2.8 that takes a server down for answers of 5xx to the traffic itself.
    HaProxyObserving,
    Nginx,
    Envoy,
    /// No load balancer: what none can do without ([`crate::floor`]).
    Floor,
}

/// What every load balancer of one measurement is asked to do.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setup<'a> {
    /// The binary of sixfold.
    pub(crate) binary: &'a Path,
    /// Another one, if there is any.
    pub(crate) beside: Option<&'a Path>,
    /// Where bench/install.sh unpacked what Debian does not have.
    pub(crate) peers: &'a Path,
    /// Where configurations and logs are written.
    pub(crate) folder: &'a Path,
    /// Ports of the backends.
    pub(crate) backends: &'a [u16],
    /// Whether clients speak TLS, and with which certificate.
    pub(crate) certificate: Option<&'a Certificate>,
    /// Whether clients speak HTTP/2; only nginx has to be told.
    pub(crate) http2: bool,
    /// Where it runs.
    pub(crate) place: Place,
}

impl Peer {
    pub(crate) const ALL: [Self; 8] = [
        Self::Sixfold,
        Self::HaProxyDebian,
        Self::HaProxyDebianSameFields,
        Self::HaProxy,
        Self::HaProxySameFields,
        Self::HaProxyObserving,
        Self::Nginx,
        Self::Envoy,
    ];

    /// One of each, and of HAProxy the newer.
    pub(crate) const FOUR: [Self; 4] = [Self::Sixfold, Self::HaProxy, Self::Nginx, Self::Envoy];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Sixfold => "sixfold",
            Self::SixfoldBeside => "sixfold, the other",
            Self::HaProxyDebian => "haproxy 2.6",
            Self::HaProxyDebianSameFields => "haproxy 2.6, same fields",
            Self::HaProxy => "haproxy 2.8",
            Self::HaProxySameFields => "haproxy 2.8, same fields",
            Self::HaProxyObserving => "haproxy 2.8, observing",
            Self::Nginx => "nginx",
            Self::Envoy => "envoy",
            Self::Floor => "the floor",
        }
    }

    /// Tells whether it is a program and not one configured in another way.
    pub(crate) fn is_plain(self) -> bool {
        matches!(self, Self::Sixfold | Self::HaProxyDebian | Self::HaProxy | Self::Nginx | Self::Envoy)
    }

    /// Starts it and gives its port.
    pub(crate) fn start(self, setup: &Setup<'_>) -> anyhow::Result<(Running, u16)> {
        let port = free_port(21_000)?;
        let command = match self {
            Self::Sixfold => sixfold::command(setup, setup.binary, port),
            Self::SixfoldBeside => sixfold::command(setup, setup.beside.context("no --beside")?, port),
            Self::HaProxyDebian => haproxy::DEBIAN.command(setup, port),
            Self::HaProxyDebianSameFields => haproxy::DEBIAN_SAME_FIELDS.command(setup, port),
            Self::HaProxy => haproxy::NEWER.command(setup, port),
            Self::HaProxySameFields => haproxy::NEWER_SAME_FIELDS.command(setup, port),
            Self::HaProxyObserving => haproxy::NEWER_OBSERVING.command(setup, port),
            Self::Nginx => nginx::command(setup, port),
            Self::Envoy => envoy::command(setup, port),
            Self::Floor => floor(setup, port),
        }?;
        let log = setup.folder.join(format!("{}.log", self.name()));
        let running = Running::start(command, port, setup.place, Some(&log))
            .with_context(|| format!("{} did not start", self.name()))?;
        Ok((running, port))
    }

    /// Asks which version it is.
    pub(crate) fn version(self, setup: &Setup<'_>) -> String {
        let (program, argument) = match self {
            Self::Sixfold => (setup.binary.to_owned(), "--version"),
            Self::SixfoldBeside => (setup.beside.unwrap_or(setup.binary).to_owned(), "--version"),
            Self::HaProxyDebian | Self::HaProxyDebianSameFields => (haproxy::DEBIAN.program(setup), "-v"),
            Self::HaProxy | Self::HaProxySameFields | Self::HaProxyObserving => {
                (haproxy::NEWER.program(setup), "-v")
            }
            Self::Nginx => (nginx::PROGRAM.into(), "-v"),
            Self::Envoy => (envoy::program(setup), "--version"),
            Self::Floor => return String::new(),
        };
        let Ok(output) = Command::new(program).arg(argument).output() else {
            return "not installed".to_owned();
        };
        let text = [output.stdout, output.stderr].concat();
        String::from_utf8_lossy(&text).trim().lines().next().unwrap_or_default().trim().to_owned()
    }
}

/// Starts this program as the least of a proxy before the first backend.
fn floor(setup: &Setup<'_>, port: u16) -> anyhow::Result<Command> {
    let backend = setup.backends.first().context("no backend")?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["floor", &port.to_string(), &backend.to_string()]);
    Ok(command)
}
