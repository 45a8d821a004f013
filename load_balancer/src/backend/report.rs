//! What is known about a backend, told.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Backend;
use super::rates::{Class, SECONDS};
use crate::clock::now_ns;
use crate::ejection::{Phase, Reason};
use crate::health::State;
use crate::selection::Candidate;

/// What is known about a backend, as `GET /v1/backends` tells it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BackendReport {
    /// The address as configured.
    pub address: String,
    /// Where it stands.
    pub state: State,
    /// For how many seconds it has stood there.
    #[serde(default)]
    pub state_for_s: f64,
    /// Whether requests may be sent to it now, be it in a panic.
    #[serde(default)]
    pub available: bool,
    /// Requests it is working on.
    pub in_flight: u32,
    /// The most requests it may work on; null without a limit.
    #[serde(default)]
    pub limit: Option<u32>,
    /// Its weight.
    #[serde(default)]
    pub weight: f64,
    /// Its rank by the priorities of SRV records: it stands by while one of a lesser rank is well.
    #[serde(default)]
    pub rank: u16,
    /// The share of its weight it has come to since it was new or back, 0 to 1.
    #[serde(default)]
    pub slow_start: f64,
    /// Estimated latency in milliseconds.
    pub ewma_ms: f64,
    /// Median latency of the last minute in milliseconds; null without requests.
    pub p50_ms: Option<f64>,
    /// 90th percentile of the last minute in milliseconds.
    pub p90_ms: Option<f64>,
    /// 99th percentile of the last minute in milliseconds.
    pub p99_ms: Option<f64>,
    /// The highest latency of the last minute in milliseconds, to an eighth.
    #[serde(default)]
    pub max_ms: Option<f64>,
    /// Requests sent to it.
    pub requests: u64,
    /// Requests that failed or were answered with 500 to 599.
    pub errors: u64,
    /// Requests that ended a second, over the last ten.
    #[serde(default)]
    pub requests_per_s: f64,
    /// The same by class: `1xx` to `5xx`, `error` without an answer; only those that occurred.
    #[serde(default)]
    pub per_s: BTreeMap<String, f64>,
    /// How requests ended since the start, by class.
    #[serde(default)]
    pub responses: BTreeMap<String, u64>,
    /// Requests given up because another backend was faster or the client left.
    #[serde(default)]
    pub canceled: u64,
    /// How often it was put out, by reason.
    #[serde(default)]
    pub ejections: BTreeMap<String, u64>,
    /// For how many seconds it will still be out; null when it is not.
    #[serde(default)]
    pub ejected_for_s: Option<f64>,
    /// The share of the time since the start in which it could be used, 0 to 1.
    pub availability: f64,
    /// The same over the last hour.
    #[serde(default)]
    pub availability_1h: f64,
    /// The same over the last day.
    #[serde(default)]
    pub availability_24h: f64,
    /// Requests in flight, as the backend itself tells; null if it does not.
    #[serde(default)]
    pub own_in_flight: Option<u32>,
    /// Its latency in milliseconds, as it tells itself.
    #[serde(default)]
    pub own_latency_ms: Option<f64>,
    /// The sum of all latencies in milliseconds.
    #[serde(default)]
    pub latency_sum_ms: f64,
}

impl Backend {
    /// Tells what is known.
    pub fn report(&self) -> BackendReport {
        let now = now_ns();
        let quantiles = self.histogram.quantiles([0.5, 0.9, 0.99, 1.0], now);
        let milliseconds = |index: usize| quantiles.map(|all| round(all[index] / 1e6));
        let tally = self.rates.tally(SECONDS, now);
        let (per_s, all) = (self.rates.per_second(now), tally.requests().max(1) as f64);
        let by_class = |counts: [u64; 6]| {
            Class::ALL
                .into_iter()
                .zip(counts)
                .filter(|(_, count)| *count > 0)
                .map(|(class, count)| (class.as_str().to_owned(), count))
        };
        let limit = self.limit.load(Relaxed);
        let (phase, ejections, since_ns, weight, rank) = {
            let condition = self.condition();
            (
                condition.record.phase,
                condition.ejections,
                condition.since_ns,
                condition.weight,
                condition.rank,
            )
        };
        let own = Some(self.load.load(Relaxed)).filter(|load| *load != u64::MAX);
        let mut uptime = self.uptime();
        let signals = self.signals();
        BackendReport {
            address: self.name.clone(),
            state: self.state(),
            state_for_s: round(seconds(now.saturating_sub(since_ns))),
            available: signals.is_available(),
            in_flight: signals.in_flight(),
            limit: (limit != u32::MAX).then_some(limit),
            weight,
            rank,
            slow_start: round(if weight > 0.0 { (signals.share(now) / weight).min(1.0) } else { 1.0 }),
            ewma_ms: round(signals.latency_ns() / 1e6),
            p50_ms: milliseconds(0),
            p90_ms: milliseconds(1),
            p99_ms: milliseconds(2),
            max_ms: milliseconds(3),
            requests: self.requests(),
            errors: self.errors.load(Relaxed),
            requests_per_s: round(per_s),
            per_s: by_class(tally.classes)
                .map(|(class, count)| (class, round(count as f64 / all * per_s)))
                .collect(),
            responses: by_class(self.rates.totals()).collect(),
            canceled: self.canceled.load(Relaxed),
            ejections: Reason::ALL
                .into_iter()
                .zip(ejections)
                .filter(|(_, count)| *count > 0)
                .map(|(reason, count)| (reason.as_str().to_owned(), count))
                .collect(),
            ejected_for_s: match phase {
                Phase::Out { until_ns, .. } => Some(round(seconds(until_ns.saturating_sub(now)))),
                _ => None,
            },
            availability: uptime.availability(now),
            availability_1h: round(uptime.availability_over(60, now)),
            availability_24h: round(uptime.availability_over(24 * 60, now)),
            own_in_flight: own.map(|load| load as u32),
            own_latency_ms: own.map(|load| (load >> 32) as f64 / 1000.0),
            latency_sum_ms: round(self.latency_sum_ns.load(Relaxed) as f64 / 1e6),
        }
    }
}

fn seconds(nanoseconds: u64) -> f64 {
    Duration::from_nanos(nanoseconds).as_secs_f64()
}

/// Rounds to thousandths: nobody reads more.
fn round(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}
