//! What is known about a backend.

use std::collections::BTreeMap;

use prometheus::{CounterVec, GaugeVec, IntCounterVec, IntGaugeVec};

use super::Made;
use crate::BackendReport;
use crate::ejection::Reason;

const BACKEND: [&str; 2] = ["cluster", "backend"];

/// The figures of backends, by their clusters and names.
pub(super) struct BackendFigures {
    requests: IntCounterVec,
    errors: IntCounterVec,
    responses: IntCounterVec,
    canceled: IntCounterVec,
    seconds: CounterVec,
    ejections: IntCounterVec,
    in_flight: IntGaugeVec,
    limit: IntGaugeVec,
    up: IntGaugeVec,
    weight: GaugeVec,
    latency: GaugeVec,
    quantiles: GaugeVec,
    availability: GaugeVec,
}

impl BackendFigures {
    pub(super) fn new(made: &mut Made) -> prometheus::Result<Self> {
        let of = |kind| ["cluster", "backend", kind];
        Ok(Self {
            requests: made.count(
                "sixfold_backend_requests_total",
                "Requests sent to a backend.",
                &BACKEND,
            )?,
            errors: made.count(
                "sixfold_backend_errors_total",
                "Requests a backend failed or answered with 5xx.",
                &BACKEND,
            )?,
            responses: made.count(
                "sixfold_backend_responses_total",
                "How requests to a backend ended, by class: 1xx to 5xx, or error without an answer.",
                &of("class"),
            )?,
            canceled: made.count(
                "sixfold_backend_canceled_total",
                "Requests given up because another backend was faster or the client left.",
                &BACKEND,
            )?,
            seconds: made.sum(
                "sixfold_backend_response_seconds_total",
                "The sum of the seconds a backend took to its responses' heads.",
                &BACKEND,
            )?,
            ejections: made.count(
                "sixfold_backend_ejections_total",
                "How often requests put a backend out, by reason.",
                &of("reason"),
            )?,
            in_flight: made.level(
                "sixfold_backend_in_flight",
                "Requests a backend is working on.",
                &BACKEND,
            )?,
            limit: made.level(
                "sixfold_backend_limit",
                "The most requests a backend may work on; absent without a limit.",
                &BACKEND,
            )?,
            up: made.level(
                "sixfold_backend_up",
                "1 if a backend gets requests, 0 if it is out.",
                &BACKEND,
            )?,
            weight: made.gauge("sixfold_backend_weight", "A backend's weight.", &BACKEND)?,
            latency: made.gauge(
                "sixfold_backend_ewma_seconds",
                "Estimated latency of a backend.",
                &BACKEND,
            )?,
            quantiles: made.gauge(
                "sixfold_backend_latency_seconds",
                "Latency of a backend over the last minute, by quantile; 1 is the highest.",
                &of("quantile"),
            )?,
            availability: made.gauge(
                "sixfold_backend_availability_ratio",
                "The share of the last day in which a backend could be used.",
                &BACKEND,
            )?,
        })
    }

    pub(super) fn add(&self, cluster: &str, report: &BackendReport) {
        let labels = [cluster, report.address.as_str()];
        let add = |counter: &IntCounterVec, counts: &BTreeMap<String, u64>| {
            for (key, count) in counts {
                counter.with_label_values(&[labels[0], labels[1], key.as_str()]).inc_by(*count);
            }
        };
        self.requests.with_label_values(&labels).inc_by(report.requests);
        self.errors.with_label_values(&labels).inc_by(report.errors);
        self.canceled.with_label_values(&labels).inc_by(report.canceled);
        self.seconds.with_label_values(&labels).inc_by(report.latency_sum_ms / 1000.0);
        add(&self.responses, &report.responses);
        // A reason that has not occurred is shown as 0, so that its first time is a rise.
        for reason in Reason::ALL {
            let count = report.ejections.get(reason.as_str()).copied().unwrap_or_default();
            self.ejections.with_label_values(&[labels[0], labels[1], reason.as_str()]).inc_by(count);
        }
        self.in_flight.with_label_values(&labels).add(i64::from(report.in_flight));
        if let Some(limit) = report.limit {
            self.limit.with_label_values(&labels).set(i64::from(limit));
        }
        self.up.with_label_values(&labels).set(i64::from(report.available));
        self.weight.with_label_values(&labels).set(report.weight);
        self.latency.with_label_values(&labels).set(report.ewma_ms / 1000.0);
        self.availability.with_label_values(&labels).set(report.availability_24h);
        let quantiles =
            [("0.5", report.p50_ms), ("0.9", report.p90_ms), ("0.99", report.p99_ms), ("1", report.max_ms)];
        for (quantile, milliseconds) in quantiles {
            if let Some(milliseconds) = milliseconds {
                let gauge = self.quantiles.with_label_values(&[labels[0], labels[1], quantile]);
                gauge.set(milliseconds / 1000.0);
            }
        }
    }
}
