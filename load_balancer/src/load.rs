//! What a backend tells of its own load in a response field, for balancers that do not see all its requests.
//!
//! `Sixfold-Load: in_flight=3, latency_us=1200` is a dictionary of two integers (RFC 9651 §3.2). A gateway
//! adds it for balancers it trusts; the balancer takes it in and away. It is read as leniently as is safe:
//! unknown members are passed over, anything malformed is no load at all.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use http::{HeaderName, HeaderValue};

use crate::clock::now_ns;
use crate::selection::Load;

/// The response field.
pub const LOAD_FIELD: HeaderName = HeaderName::from_static("sixfold-load");

/// A longer value is not looked at; ours has at most 50 bytes.
const LONGEST: usize = 128;

/// Larger figures are not believed: nobody works on a million requests, or takes an hour for one.
const MOST_IN_FLIGHT: u64 = 1_000_000;
const MOST_LATENCY_US: u64 = 3_600_000_000;

/// The weight of one answer in a meter's latency; some thirty answers make it up.
const WEIGHT: f64 = 1.0 / 32.0;

/// Reads a field's value; `None` if it is malformed.
pub fn parse_load(value: &[u8]) -> Option<Load> {
    let text = std::str::from_utf8(value).ok().filter(|text| text.len() <= LONGEST)?;
    let (mut in_flight, mut latency_us) = (None, None);
    for member in text.split(',') {
        let (key, value) = member.trim_matches([' ', '\t']).split_once('=')?;
        let slot = match key {
            "in_flight" => &mut in_flight,
            "latency_us" => &mut latency_us,
            _ => continue,
        };
        if value.is_empty() || value.len() > 15 || !value.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        *slot = value.parse::<u64>().ok();
    }
    let in_flight = in_flight.filter(|count| *count <= MOST_IN_FLIGHT)?;
    let latency_us = latency_us.filter(|latency| *latency <= MOST_LATENCY_US)?;
    Some(Load { in_flight: u32::try_from(in_flight).ok()?, latency_ns: latency_us * 1000 })
}

/// Writes a field's value.
pub fn write_load(load: Load) -> HeaderValue {
    let text = format!("in_flight={}, latency_us={}", load.in_flight, load.latency_ns / 1000);
    HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// What a server measures of itself to tell; shared by its threads.
#[derive(Debug, Default)]
pub struct Meter {
    in_flight: AtomicU32,
    /// The latency in nanoseconds, as the bits of an `f64`.
    latency: AtomicU64,
}

impl Meter {
    /// Counts a request in; what it gives counts it out, when it is dropped.
    pub fn begin(&self) -> Metered<'_> {
        self.in_flight.fetch_add(1, Relaxed);
        Metered { meter: self, since_ns: now_ns() }
    }

    /// Tells the present load.
    pub fn load(&self) -> Load {
        let latency = f64::from_bits(self.latency.load(Relaxed));
        Load { in_flight: self.in_flight.load(Relaxed), latency_ns: latency as u64 }
    }
}

/// A request a meter counts.
#[derive(Debug)]
pub struct Metered<'a> {
    meter: &'a Meter,
    since_ns: u64,
}

impl Metered<'_> {
    /// Notes that the request was answered.
    pub fn note_answer(&self) {
        let took = now_ns().saturating_sub(self.since_ns) as f64;
        let old = f64::from_bits(self.meter.latency.load(Relaxed));
        // Two threads at once may lose a sample of one; the next one makes up for it.
        let new = if old == 0.0 { took } else { old + (took - old) * WEIGHT };
        self.meter.latency.store(new.to_bits(), Relaxed);
    }
}

impl Drop for Metered<'_> {
    fn drop(&mut self) {
        self.meter.in_flight.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let load = Load { in_flight: 3, latency_ns: 1_200_000 };
        assert_eq!(write_load(load), "in_flight=3, latency_us=1200");
        assert_eq!(parse_load(b"in_flight=3, latency_us=1200"), Some(load));
        assert_eq!(parse_load(b"latency_us=1200,extra=?1,in_flight=3"), Some(load));
    }

    #[test]
    fn what_is_malformed_is_no_load() {
        for value in [
            "",
            "in_flight=3",
            "in_flight=-3, latency_us=1",
            "in_flight=3;latency_us=1",
            "in_flight=+3, latency_us=1",
            "in_flight=3.5, latency_us=1",
            "in_flight=99999999999999999999, latency_us=1",
            "in_flight=1000001, latency_us=1",
            "in_flight=1, latency_us=3600000001",
            "in_flight=1, latency_us=1, \u{fc}",
        ] {
            assert_eq!(parse_load(value.as_bytes()), None, "{value}");
        }
        assert_eq!(parse_load(&[b'a'; 4096]), None);
    }

    proptest! {
        #[test]
        fn nothing_a_backend_says_panics_or_is_beyond_bounds(value: Vec<u8>) {
            if let Some(load) = parse_load(&value) {
                prop_assert!(u64::from(load.in_flight) <= MOST_IN_FLIGHT);
            }
        }
    }

    #[test]
    fn a_meter_counts_what_is_in_flight() {
        let meter = Meter::default();
        let first = meter.begin();
        let second = meter.begin();
        assert_eq!(meter.load().in_flight, 2);
        first.note_answer();
        drop((first, second));
        assert_eq!(meter.load().in_flight, 0);
    }
}
