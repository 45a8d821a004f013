//! What a response tells of its way: `Server-Timing` and, where asked for, `Sixfold-Explain`.

use std::io::Write;

use serde::{Deserialize, Serialize};

/// The request field by which a client asks for an explanation, and the response field that gives it.
pub(crate) const EXPLAIN: &str = "sixfold-explain";

/// Who is told why a request went where it went; it names backends, which is nobody's business outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Explain {
    /// Nobody.
    #[default]
    Off,
    /// Requests with a `Sixfold-Explain` field.
    Asked,
    /// Every request.
    Always,
}

impl Explain {
    /// Tells whether a request is explained to who sent it.
    pub(crate) fn wants(self, is_asked: impl FnOnce() -> bool) -> bool {
        match self {
            Self::Off => false,
            Self::Asked => is_asked(),
            Self::Always => true,
        }
    }
}

/// One request's way through a cluster.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Story {
    /// Backends the last choice looked at.
    pub considered: u32,
    /// Why it fell as it did.
    pub reason: &'static str,
    /// Time spent waiting for a place at a backend, in nanoseconds.
    pub queue_ns: u64,
    /// Backends the request was sent to, hedges included.
    pub attempts: u32,
    /// Backends it was sent to because an earlier one was slow.
    pub hedges: u32,
    /// From the choice of the backend that answered to the head of its response, in nanoseconds.
    pub backend_ns: u64,
}

impl Story {
    /// Gives how often the request was sent again because an attempt failed.
    pub(crate) fn retries(&self) -> u32 {
        self.attempts.saturating_sub(1 + self.hedges)
    }

    /// Appends a `Server-Timing` value (W3C Server Timing §2; durations in milliseconds); `total_ns` is the
    /// time from the request's head to this moment.
    pub(crate) fn write_timing(&self, total_ns: u64, out: &mut Vec<u8>) {
        out.extend_from_slice(b"backend;dur=");
        write_ms(self.backend_ns, out);
        out.extend_from_slice(b", balancer;dur=");
        write_ms(total_ns.saturating_sub(self.backend_ns), out);
    }

    /// Appends a `Sixfold-Explain` value, a dictionary (RFC 9651 §3.2).
    pub(crate) fn write_explanation(&self, policy: &str, backend: Option<&str>, out: &mut Vec<u8>) {
        // Writing to memory does not fail.
        let _ = write!(
            out,
            "policy={policy}, considered={}, chosen=\"{}\", why={}, queue-ms=",
            self.considered,
            backend.unwrap_or(""),
            if self.reason.is_empty() { "none" } else { self.reason },
        );
        write_ms(self.queue_ns, out);
        let _ =
            write!(out, ", attempts={}, retries={}, hedges={}", self.attempts, self.retries(), self.hedges);
    }
}

/// Appends milliseconds with three decimals, without the cost of formatting a float.
fn write_ms(nanoseconds: u64, out: &mut Vec<u8>) {
    let microseconds = nanoseconds / 1000;
    let mut digits = [0; 24];
    let mut at = digits.len();
    let mut rest = microseconds;
    for place in 0.. {
        if place == 3 {
            at -= 1;
            digits[at] = b'.';
        }
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 && place >= 3 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn milliseconds_are_written_with_three_decimals() {
        for (nanoseconds, text) in [
            (0, "0.000"),
            (999, "0.000"),
            (1_000, "0.001"),
            (12_345_678, "12.345"),
            (u64::MAX, "18446744073709.551"),
        ] {
            assert_eq!(written(|out| write_ms(nanoseconds, out)), text);
        }
    }

    #[test]
    fn the_way_is_told_in_one_line() {
        let story = Story {
            considered: 5,
            reason: "lowest-score",
            queue_ns: 0,
            attempts: 3,
            hedges: 1,
            backend_ns: 3_200_000,
        };
        assert_eq!(
            written(|out| story.write_timing(3_300_000, out)),
            "backend;dur=3.200, balancer;dur=0.100"
        );
        assert_eq!(
            written(|out| story.write_explanation("latency", Some("127.0.0.1:5000"), out)),
            "policy=latency, considered=5, chosen=\"127.0.0.1:5000\", why=lowest-score, queue-ms=0.000, \
             attempts=3, retries=1, hedges=1"
        );
    }

    #[test]
    fn only_who_may_is_told() {
        assert!(!Explain::Off.wants(|| true));
        assert!(Explain::Asked.wants(|| true) && !Explain::Asked.wants(|| false));
        assert!(Explain::Always.wants(|| false));
    }
}
