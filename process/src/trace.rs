//! The trace a request belongs to: W3C Trace Context, level 1.
//!
//! A role continues the caller's trace or starts one ([`continue_or_start`]), sets it as the current trace
//! of the task that handles the request ([`within`]), and every call made from there carries it on.

use std::fmt;

use http::{HeaderMap, HeaderName, HeaderValue};
use rand::Rng;
use tokio::task::futures::TaskLocalFuture;

/// The request and response field that carries a trace (W3C Trace Context §3.2).
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The response field that names the trace to the client.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

tokio::task_local! {
    static CURRENT: TraceContext;
}

/// One hop of a trace: the trace's ID, this hop's span and whether it is sampled.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceContext {
    trace: u128,
    span: u64,
    sampled: bool,
}

impl TraceContext {
    /// Starts a trace.
    pub fn start(rng: &mut impl Rng) -> Self {
        // Zero means "none" in both fields (§3.2.2.3 and §3.2.2.4).
        Self { trace: rng.random::<u128>().max(1), span: rng.random::<u64>().max(1), sampled: true }
    }

    /// Makes a new span of the same trace.
    pub fn child(self, rng: &mut impl Rng) -> Self {
        Self { span: rng.random::<u64>().max(1), ..self }
    }

    /// Reads a `traceparent` value; anything malformed is no trace (§3.2.2: then a new one is started).
    pub fn parse(value: &[u8]) -> Option<Self> {
        let bytes = value.get(..55)?;
        // A later version may be longer, but only after another dash (§4.3); version ff is invalid.
        let rest_is_valid = match value.get(55) {
            None => true,
            Some(next) => &bytes[..2] != b"00" && *next == b'-',
        };
        let dashes = bytes[2] == b'-' && bytes[35] == b'-' && bytes[52] == b'-';
        if !rest_is_valid || !dashes || hex(&bytes[..2])? == 0xff {
            return None;
        }
        let trace = hex(&bytes[3..35])?;
        let span = u64::try_from(hex(&bytes[36..52])?).ok()?;
        let flags = hex(&bytes[53..55])?;
        (trace != 0 && span != 0).then_some(Self { trace, span, sampled: flags & 1 == 1 })
    }

    /// Gives the trace's ID as 32 lower-case hexadecimal digits.
    pub fn trace_id(&self) -> String {
        format!("{:032x}", self.trace)
    }

    /// Writes the `traceparent` value without allocating.
    pub fn write(&self) -> [u8; 55] {
        let mut out = *b"00-00000000000000000000000000000000-0000000000000000-00";
        write_hex(&self.trace.to_be_bytes(), &mut out[3..35]);
        write_hex(&self.span.to_be_bytes(), &mut out[36..52]);
        out[54] = if self.sampled { b'1' } else { b'0' };
        out
    }

    /// Gives the `traceparent` field's value.
    pub fn header_value(&self) -> HeaderValue {
        field(&self.write())
    }

    /// Gives the `X-Request-Id` field's value: the trace's ID.
    pub fn request_id(&self) -> HeaderValue {
        let mut id = [0; 32];
        write_hex(&self.trace.to_be_bytes(), &mut id);
        field(&id)
    }
}

impl fmt::Debug for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.write()))
    }
}

/// Continues the trace of a request's header fields as a new span, or starts one.
pub fn continue_or_start(fields: &HeaderMap, rng: &mut impl Rng) -> TraceContext {
    match fields.get(TRACEPARENT).and_then(|value| TraceContext::parse(value.as_bytes())) {
        Some(parent) => parent.child(rng),
        None => TraceContext::start(rng),
    }
}

/// Gives the trace of the present task, if it handles a request or a job.
pub fn current() -> Option<TraceContext> {
    CURRENT.try_with(|trace| *trace).ok()
}

/// Runs a future as part of a trace. Not an `async fn`: that would have room for the future twice.
pub fn within<F: Future>(trace: TraceContext, future: F) -> TaskLocalFuture<TraceContext, F> {
    CURRENT.scope(trace, future)
}

/// Runs a function as part of a trace.
pub fn within_now<T>(trace: TraceContext, function: impl FnOnce() -> T) -> T {
    CURRENT.sync_scope(trace, function)
}

fn hex(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0u128, |number, digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10, // upper case is invalid (§3.2.2)
            _ => return None,
        };
        Some(number << 4 | u128::from(digit))
    })
}

/// Digits and dashes are always a valid value; the empty one is never used.
fn field(text: &[u8]) -> HeaderValue {
    HeaderValue::from_bytes(text).unwrap_or(HeaderValue::from_static(""))
}

fn write_hex(bytes: &[u8], out: &mut [u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (byte, place) in bytes.iter().zip(out.chunks_exact_mut(2)) {
        place[0] = DIGITS[usize::from(byte >> 4)];
        place[1] = DIGITS[usize::from(byte & 0xf)];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn the_specification_s_sample_reads_back_as_written() {
        let trace = TraceContext::parse(SAMPLE.as_bytes()).unwrap();
        assert_eq!(trace.write().as_slice(), SAMPLE.as_bytes());
        assert_eq!(trace.request_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
    }

    #[test]
    fn a_malformed_traceparent_starts_a_new_trace() {
        let replace = |from: &str, to: &str| SAMPLE.replacen(from, to, 1);
        let cases = [
            String::new(),
            "00".to_owned(),
            SAMPLE[..54].to_owned(),
            format!("{SAMPLE}-extra"),
            replace("00-", "ff-"),
            replace("4bf9", "4BF9"),
            replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            replace("00f067aa0ba902b7", &"0".repeat(16)),
            replace("-00f0", "_00f0"),
        ];
        for case in cases {
            assert_eq!(TraceContext::parse(case.as_bytes()), None, "{case}");
        }
    }

    #[tokio::test]
    async fn a_task_carries_its_trace() {
        assert_eq!(current(), None);
        let trace = TraceContext::start(&mut rand::rng());
        assert_eq!(within(trace, async { current() }).await, Some(trace));
    }
}
