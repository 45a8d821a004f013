//! What a backend is told of who asked, and which of a request's fields go on to it.

use process::TraceContext;

use super::fields::Known;
use super::request_head::Request;
use crate::Client;
use crate::fields::is_host_told;
use crate::wire::Rules;

/// What a trusted proxy has told already, found out as the fields go by; nobody else is believed.
#[derive(Debug)]
pub(in crate::wire) struct Account {
    is_trusted: bool,
    has_for: bool,
    has_proto: bool,
    has_host: bool,
}

impl Account {
    pub(in crate::wire) fn of(client: &Client, rules: &Rules) -> Self {
        let is_trusted = rules.trusted.believes(client);
        Self { is_trusted, has_for: false, has_proto: false, has_host: false }
    }

    /// Tells whether a field goes on; `upgrades` if a change of protocol is asked for, and can be.
    pub(in crate::wire) fn passes(&mut self, known: Known, upgrades: bool) -> bool {
        match known {
            Known::Dropped
            | Known::Connection
            | Known::KeepAlive
            | Known::ProxyConnection
            | Known::ProxyAuthorization
            | Known::Te
            | Known::Http2Settings
            | Known::TransferEncoding
            | Known::Traceparent => return false,
            Known::Upgrade => return upgrades,
            Known::ForwardedFor => self.has_for |= self.is_trusted,
            Known::ForwardedProto => self.has_proto |= self.is_trusted,
            Known::ForwardedHost => self.has_host |= self.is_trusted,
            // Nobody vouches for them, and a backend may believe them over the fields that are ours.
            Known::Forwarded | Known::RealIp => {}
            _ => return true,
        }
        self.is_trusted
    }

    /// Tells what is ours: calls back with the name of each field and the pieces of its value.
    pub(in crate::wire) fn tell(
        &self,
        request: &Request,
        client: &Client,
        rules: &Rules,
        trace: &TraceContext,
        mut put: impl FnMut(&'static str, &[&[u8]]),
    ) {
        let ip = client.field().as_bytes();
        let host = request.host();
        put("X-Forwarded-For", &[ip]);
        if !self.has_proto {
            put("X-Forwarded-Proto", &[client.scheme().as_bytes()]);
        }
        if !is_host_told(self.has_for, self.has_host) && !host.is_empty() {
            put("X-Forwarded-Host", &[host]);
        }
        if rules.writes_forwarded {
            tell_forwarded(client, host, &mut put);
        }
        let via: &[u8] = match (request.is_http2(), request.is_http_10()) {
            (true, _) => b"2 sixfold",
            (false, true) => b"1.0 sixfold",
            (false, false) => b"1.1 sixfold",
        };
        put("Via", &[via]);
        put("traceparent", &[&trace.write()]);
    }
}

/// Tells `Forwarded` (RFC 7239 §4); a second line extends the list of the first.
fn tell_forwarded(client: &Client, host: &[u8], put: &mut impl FnMut(&'static str, &[&[u8]])) {
    let ip = client.field().as_bytes();
    // An IPv6 address stands in brackets, and so in quotes (§6).
    let (before, after): (&[u8], &[u8]) =
        if client.ip().is_ipv6() { (b"for=\"[", b"]\"") } else { (b"for=", b"") };
    // Quoted because of the colon before a port; a host has neither quotes nor backslashes.
    let (host_before, host_after): (&[u8], &[u8]) =
        if host.is_empty() { (b"", b"") } else { (b";host=\"", b"\"") };
    let scheme = client.scheme().as_bytes();
    put("Forwarded", &[before, ip, after, host_before, host, host_after, b";proto=", scheme]);
}
