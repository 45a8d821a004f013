//! What is measured of every load balancer: the main case, and what may change its order.

use std::path::Path;
use std::time::Duration;

use crate::certificate::Certificate;
use crate::load::{Run, h2load, handshakes, wrk};
use crate::peers::Peer;

/// Connections of the HTTP/2 client.
const H2_CONNECTIONS: usize = 16;

/// Streams at a time on each of them.
const H2_STREAMS: usize = 8;

/// What the client does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Load {
    /// GETs over this many keep-alive connections.
    Get(usize),
    /// POSTs of this many bytes over 64 keep-alive connections.
    Upload(usize),
    /// GETs over HTTP/2.
    Http2,
    /// One GET on each connection, perhaps resuming the TLS session of the one before.
    Handshakes { resume: bool },
}

/// One table of the report.
#[derive(Debug)]
pub(super) struct Case {
    /// What `--only` names.
    pub(super) name: &'static str,
    pub(super) title: &'static str,
    pub(super) load: Load,
    /// Bytes of the answer.
    pub(super) answer: usize,
    pub(super) tls: bool,
    pub(super) peers: &'static [Peer],
    /// Whether it is the bar itself, measured in more rounds.
    pub(super) is_main: bool,
}

/// All of HAProxy's kinds beside the others, and what the system alone costs.
const MAIN_PEERS: [Peer; 8] = [
    Peer::Sixfold,
    Peer::HaProxyDebian,
    Peer::HaProxyDebianSameFields,
    Peer::HaProxy,
    Peer::HaProxySameFields,
    Peer::Nginx,
    Peer::Envoy,
    Peer::Floor,
];

/// From this the other cases differ in one thing each.
const MAIN: Case = Case {
    name: "main",
    title: "150-byte answers, 64 connections",
    load: Load::Get(64),
    answer: 150,
    tls: false,
    peers: &MAIN_PEERS,
    is_main: true,
};

const SIDE: Case = Case { peers: &Peer::FOUR, is_main: false, ..MAIN };

pub(super) const ALL: [Case; 8] = [
    MAIN,
    Case { name: "16k", title: "16 KiB answers, 64 connections", answer: 16 << 10, ..SIDE },
    Case { name: "upload", title: "64 KiB uploads, 64 connections", load: Load::Upload(64 << 10), ..SIDE },
    Case {
        name: "http2",
        title: "HTTP/2 (cleartext) from the client, 16 connections of 8 streams, 150-byte answers",
        load: Load::Http2,
        ..SIDE
    },
    Case { name: "connections", title: "1,000 connections, 150-byte answers", load: Load::Get(1000), ..SIDE },
    Case {
        name: "tls",
        title: "HTTP/1.1 over TLS (ECDSA P-256), 64 connections, 150-byte answers",
        tls: true,
        ..SIDE
    },
    Case {
        name: "handshakes",
        title: "TLS 1.3 handshakes, one request each",
        load: Load::Handshakes { resume: false },
        tls: true,
        ..SIDE
    },
    Case {
        name: "resumed",
        title: "TLS 1.3 handshakes resumed by ticket, one request each",
        load: Load::Handshakes { resume: true },
        tls: true,
        ..SIDE
    },
];

impl Case {
    /// Runs the client once.
    pub(super) fn run(
        &self,
        folder: &Path,
        port: u16,
        certificate: &Certificate,
        seconds: u64,
    ) -> anyhow::Result<Run> {
        let scheme = if self.tls { "https" } else { "http" };
        let url = format!("{scheme}://127.0.0.1:{port}/");
        match self.load {
            Load::Get(connections) => wrk::run(&url, connections, seconds, None),
            Load::Upload(size) => {
                let script = wrk::write_upload_script(folder, size)?;
                wrk::run(&url, 64, seconds, Some(&script))
            }
            Load::Http2 => h2load::run(&url, H2_CONNECTIONS, H2_STREAMS, seconds),
            Load::Handshakes { resume } => {
                handshakes::run(port, certificate, resume, Duration::from_secs(seconds))
            }
        }
    }
}
