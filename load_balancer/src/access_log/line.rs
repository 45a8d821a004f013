//! One line of the access log.

use std::net::IpAddr;

use serde::Serialize;

use crate::Backend;
use crate::explain::Story;

/// The status of a request whose client left before it was answered: nginx' own, which no server sends.
pub(crate) const CLIENT_GONE: u16 = 499;

/// What is logged of one request; a field that does not apply is left out.
#[derive(Debug, Serialize)]
pub(crate) struct Line<'a> {
    /// When the response ended (RFC 3339, UTC).
    pub(crate) time: jiff::Timestamp,
    /// Who asked, behind all trusted proxies; of a request that could not be read, who is at the other end.
    pub(crate) client: IpAddr,
    /// Empty, as is the path, of a request that could not be read.
    #[serde(skip_serializing_if = "is_absent")]
    pub(crate) method: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) host: Option<&'a str>,
    /// Without the query, in which tokens travel.
    #[serde(skip_serializing_if = "is_absent")]
    pub(crate) path: &'a str,
    pub(crate) protocol: &'static str,
    /// What the client was answered with, or [`CLIENT_GONE`].
    pub(crate) status: u16,
    /// Whether the exchange was given up before its end, because the client left or took nothing more.
    #[serde(skip_serializing_if = "is_false")]
    pub(crate) client_gone: bool,
    /// Bytes of the response that were sent, where they were counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) bytes: Option<u64>,
    /// From the request's head to the end of the response.
    pub(crate) duration_us: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) backend: Option<&'a str>,
    /// From choosing the backend to the head of its response.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) backend_us: Option<u64>,
    /// Time spent waiting for a place at a backend.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) queue_us: u64,
    /// Backends tried, if more than one.
    #[serde(skip_serializing_if = "is_one")]
    pub(crate) attempts: u32,
    #[serde(skip_serializing_if = "is_false")]
    pub(crate) hedged: bool,
    /// Why there was no response, if there was none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<&'a str>,
    pub(crate) trace_id: &'a str,
}

/// What a line says of a request itself, whichever lane it took.
#[derive(Debug)]
pub(crate) struct Asker<'a> {
    pub(crate) client: IpAddr,
    pub(crate) method: &'a str,
    pub(crate) host: Option<&'a str>,
    pub(crate) path: &'a str,
    pub(crate) protocol: &'static str,
}

impl<'a> Line<'a> {
    /// Makes the line of a request that is over now; the bytes, the time it took, the error and the trace are
    /// the caller's to fill in.
    pub(crate) fn new(asker: Asker<'a>, status: u16, story: &Story, backend: Option<&'a Backend>) -> Self {
        let Asker { client, method, host, path, protocol } = asker;
        Self {
            time: jiff::Timestamp::now(),
            client,
            method,
            host,
            path,
            protocol,
            status,
            client_gone: false,
            bytes: None,
            duration_us: 0,
            backend: backend.map(Backend::name),
            backend_us: (story.backend_ns > 0).then_some(story.backend_ns / 1000),
            queue_us: story.queue_ns / 1000,
            attempts: story.attempts,
            hedged: story.hedges > 0,
            error: None,
            trace_id: "",
        }
    }

    /// Appends the line, with its end, to a buffer.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        let before = out.len();
        // Numbers and strings always serialise, and memory always takes them.
        if serde_json::to_writer(&mut *out, self).is_ok() {
            out.push(b'\n');
        } else {
            out.truncate(before);
        }
    }
}

fn is_absent(text: &&str) -> bool {
    text.is_empty()
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

fn is_one(number: &u32) -> bool {
    *number <= 1
}

fn is_false(flag: &bool) -> bool {
    !flag
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_object_whatever_the_client_sent() {
        let line = Line {
            time: jiff::Timestamp::UNIX_EPOCH,
            client: [127, 0, 0, 1].into(),
            method: "GET",
            host: Some("shop.example"),
            path: "/a\"b\nc",
            protocol: "HTTP/1.1",
            status: 200,
            client_gone: false,
            bytes: Some(150),
            duration_us: 1200,
            backend: Some("127.0.0.1:5000"),
            backend_us: Some(1100),
            queue_us: 0,
            attempts: 1,
            hedged: false,
            error: None,
            trace_id: "4bf92f3577b34da6a3ce929d0e0e4736",
        };
        let mut out = Vec::new();
        line.write(&mut out);
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text.matches('\n').count(), 1, "an injected line end is escaped");
        let parsed: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(parsed["path"], "/a\"b\nc");
        assert_eq!(parsed["time"], "1970-01-01T00:00:00Z");
        assert!(parsed.get("attempts").is_none() && parsed.get("error").is_none());
    }
}
