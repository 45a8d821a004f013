//! Figures for Prometheus: one registry a process, written on `/metrics` of the admin address.
//!
//! A crate declares its figures as `static LazyLock`s through the functions here. Names start with
//! `sixfold_`, base units are seconds and bytes.

use std::sync::LazyLock;

use prometheus::{
    Encoder, HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, TextEncoder, core::Collector,
};

/// Upper bounds of latency buckets in seconds, from a cached answer to a timeout.
const LATENCY_BUCKETS: [f64; 16] = [
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// Requests answered, by role and status.
pub static REQUESTS: LazyLock<IntCounterVec> =
    LazyLock::new(|| counter("sixfold_requests_total", "Requests answered.", &["role", "status"]));

/// Seconds from a request's arrival to its response head, by role.
pub static REQUEST_SECONDS: LazyLock<HistogramVec> = LazyLock::new(|| {
    latency("sixfold_request_seconds", "Seconds from a request to the head of its response.", &["role"])
});

/// Declares a counter with labels and registers it.
pub fn counter(name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    register(IntCounterVec::new(Opts::new(name, help), labels))
}

/// Declares a gauge with labels and registers it.
pub fn gauge(name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
    register(IntGaugeVec::new(Opts::new(name, help), labels))
}

/// Declares a latency histogram in seconds with labels and registers it.
pub fn latency(name: &str, help: &str, labels: &[&str]) -> HistogramVec {
    register(HistogramVec::new(HistogramOpts::new(name, help).buckets(LATENCY_BUCKETS.to_vec()), labels))
}

/// Registers a collector that computes its figures when they are asked for.
pub fn register_collector(collector: impl Collector + 'static) {
    if let Err(error) = prometheus::register(Box::new(collector)) {
        tracing::warn!(%error, "a figure is not shown on /metrics");
    }
}

#[allow(clippy::expect_used, reason = "names and labels are constants of the program; a test touches each")]
fn register<C: Collector + Clone + 'static>(made: prometheus::Result<C>) -> C {
    let figure = made.expect("the name and labels of a figure are valid");
    prometheus::register(Box::new(figure.clone())).expect("a figure is declared once");
    figure
}

/// Writes all figures in Prometheus's text format.
pub fn render() -> Vec<u8> {
    let mut text = Vec::new();
    if let Err(error) = TextEncoder::new().encode(&prometheus::gather(), &mut text) {
        tracing::warn!(%error, "the figures cannot be written");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counted_request_is_rendered() {
        REQUESTS.with_label_values(&["test", "200"]).inc();
        REQUEST_SECONDS.with_label_values(&["test"]).observe(0.002);
        let text = String::from_utf8(render()).unwrap();
        assert!(text.contains(r#"sixfold_requests_total{role="test",status="200"} 1"#), "{text}");
        assert!(text.contains(r#"sixfold_request_seconds_bucket{role="test",le="0.0025"} 1"#), "{text}");
    }
}
