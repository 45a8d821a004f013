//! What is known about backends and clusters, for Prometheus: read from the atomics when it is asked for.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{CounterVec, GaugeVec, IntCounterVec, IntGaugeVec, Opts};

use crate::ejection::Reason;
use crate::queue::Overloaded;
use crate::{BackendReport, Cluster};

static CLUSTERS: LazyLock<Mutex<Vec<Weak<Cluster>>>> = LazyLock::new(|| {
    process::metrics::register_collector(Backends::new());
    Mutex::default()
});

/// Shows a cluster's figures for as long as it lives.
pub(crate) fn show(cluster: &Arc<Cluster>) {
    let mut clusters = CLUSTERS.lock().unwrap_or_else(PoisonError::into_inner);
    clusters.retain(|cluster| cluster.strong_count() > 0);
    clusters.push(Arc::downgrade(cluster));
}

const BACKEND: [&str; 2] = ["cluster", "backend"];

/// Figures of all clusters of the process.
struct Backends {
    descriptions: Vec<Desc>,
}

impl Backends {
    fn new() -> Self {
        let all = Figures::new();
        Self { descriptions: all.iter().flat_map(|all| all.descriptions()).collect() }
    }
}

struct Figures {
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
    retries: IntCounterVec,
    hedges: IntCounterVec,
    hedges_won: IntCounterVec,
    shed: IntCounterVec,
    waiting: IntGaugeVec,
    total: IntGaugeVec,
    panic: IntGaugeVec,
}

impl Figures {
    fn new() -> Option<Self> {
        let made = || -> prometheus::Result<Self> {
            let count =
                |name: &str, help: &str, labels: &[&str]| IntCounterVec::new(Opts::new(name, help), labels);
            let level =
                |name: &str, help: &str, labels: &[&str]| IntGaugeVec::new(Opts::new(name, help), labels);
            let gauge =
                |name: &str, help: &str, labels: &[&str]| GaugeVec::new(Opts::new(name, help), labels);
            let class = ["cluster", "backend", "class"];
            let reason = ["cluster", "backend", "reason"];
            let quantile = ["cluster", "backend", "quantile"];
            let cluster = ["cluster"];
            let (requests, errors) = ("sixfold_backend_requests_total", "sixfold_backend_errors_total");
            let help = "The sum of the seconds a backend took to its responses' heads.";
            let seconds =
                CounterVec::new(Opts::new("sixfold_backend_response_seconds_total", help), &BACKEND)?;
            Ok(Self {
                requests: count(requests, "Requests sent to a backend.", &BACKEND)?,
                errors: count(errors, "Requests a backend failed or answered with 5xx.", &BACKEND)?,
                responses: count(
                    "sixfold_backend_responses_total",
                    "How requests to a backend ended, by class: 1xx to 5xx, or error without an answer.",
                    &class,
                )?,
                canceled: count(
                    "sixfold_backend_canceled_total",
                    "Requests given up because another backend was faster or the client left.",
                    &BACKEND,
                )?,
                seconds,
                ejections: count(
                    "sixfold_backend_ejections_total",
                    "How often requests put a backend out, by reason.",
                    &reason,
                )?,
                in_flight: level("sixfold_backend_in_flight", "Requests a backend is working on.", &BACKEND)?,
                limit: level(
                    "sixfold_backend_limit",
                    "The most requests a backend may work on; absent without a limit.",
                    &BACKEND,
                )?,
                up: level("sixfold_backend_up", "1 if a backend gets requests, 0 if it is out.", &BACKEND)?,
                weight: gauge("sixfold_backend_weight", "A backend's weight.", &BACKEND)?,
                latency: gauge("sixfold_backend_ewma_seconds", "Estimated latency of a backend.", &BACKEND)?,
                quantiles: gauge(
                    "sixfold_backend_latency_seconds",
                    "Latency of a backend over the last minute, by quantile; 1 is the highest.",
                    &quantile,
                )?,
                availability: gauge(
                    "sixfold_backend_availability_ratio",
                    "The share of the last day in which a backend could be used.",
                    &BACKEND,
                )?,
                retries: count(
                    "sixfold_cluster_retries_total",
                    "Requests sent to another backend after one failed.",
                    &cluster,
                )?,
                hedges: count(
                    "sixfold_cluster_hedges_total",
                    "Requests sent to a second backend because the first was slow.",
                    &cluster,
                )?,
                hedges_won: count(
                    "sixfold_cluster_hedges_won_total",
                    "Hedges that were answered first.",
                    &cluster,
                )?,
                shed: count(
                    "sixfold_cluster_shed_total",
                    "Requests refused because there was too much work, by reason.",
                    &["cluster", "reason"],
                )?,
                waiting: level(
                    "sixfold_cluster_waiting",
                    "Requests that wait for a place at a backend.",
                    &cluster,
                )?,
                total: level("sixfold_cluster_in_flight", "Requests taken on.", &cluster)?,
                panic: level(
                    "sixfold_cluster_panic",
                    "1 while so few backends are well that all are used.",
                    &cluster,
                )?,
            })
        };
        made().ok()
    }

    fn collectors(&self) -> [&dyn Collector; 20] {
        [
            &self.requests,
            &self.errors,
            &self.responses,
            &self.canceled,
            &self.seconds,
            &self.ejections,
            &self.in_flight,
            &self.limit,
            &self.up,
            &self.weight,
            &self.latency,
            &self.quantiles,
            &self.availability,
            &self.retries,
            &self.hedges,
            &self.hedges_won,
            &self.shed,
            &self.waiting,
            &self.total,
            &self.panic,
        ]
    }

    fn descriptions(&self) -> Vec<Desc> {
        self.collectors().iter().flat_map(|one| one.desc().into_iter().cloned()).collect()
    }

    // Gateways of one process may each have a cluster of a name: their counts add up.
    fn add_cluster(&self, cluster: &Cluster) {
        let (name, counters) = (cluster.name(), cluster.counters());
        self.retries.with_label_values(&[name]).inc_by(counters.retries.load(Relaxed));
        self.hedges.with_label_values(&[name]).inc_by(counters.hedges.load(Relaxed));
        self.hedges_won.with_label_values(&[name]).inc_by(counters.hedges_won.load(Relaxed));
        for (reason, count) in Overloaded::ALL.into_iter().zip(&counters.shed) {
            self.shed.with_label_values(&[name, reason.as_str()]).inc_by(count.load(Relaxed));
        }
        let waiting = i64::try_from(cluster.waiting()).unwrap_or(i64::MAX);
        self.waiting.with_label_values(&[name]).add(waiting);
        self.total.with_label_values(&[name]).add(i64::from(cluster.total()));
        self.panic.with_label_values(&[name]).set(i64::from(cluster.is_panicking()));
    }

    fn add_backend(&self, cluster: &str, report: &BackendReport) {
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

impl Collector for Backends {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let Some(figures) = Figures::new() else { return Vec::new() };
        let clusters: Vec<Arc<Cluster>> = {
            let clusters = CLUSTERS.lock().unwrap_or_else(PoisonError::into_inner);
            clusters.iter().filter_map(Weak::upgrade).collect()
        };
        for cluster in clusters {
            figures.add_cluster(&cluster);
            for report in cluster.report() {
                figures.add_backend(cluster.name(), &report);
            }
        }
        figures.collectors().iter().flat_map(|one| one.collect()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Options;

    #[test]
    fn every_figure_of_a_cluster_is_shown() {
        let cluster = Cluster::new("shown", &["127.0.0.1:1".to_owned()], Options::default());
        let backend = Arc::clone(&cluster.members().backends[0]);
        let now = crate::clock::now_ns();
        backend.begin(now).note_response(200, Some(2_000_000_000), now);
        cluster.counters().hedges.fetch_add(2, Relaxed);
        cluster.counters().count_shed(Overloaded::QueueFull);
        let text = String::from_utf8(process::metrics::render()).unwrap();
        let labels = r#"backend="127.0.0.1:1",cluster="shown""#;
        for line in [
            format!("sixfold_backend_requests_total{{{labels}}} 1"),
            format!("sixfold_backend_responses_total{{{labels},class=\"2xx\"}} 1").replace(
                &format!("{labels},class=\"2xx\""),
                "backend=\"127.0.0.1:1\",class=\"2xx\",cluster=\"shown\"",
            ),
            format!("sixfold_backend_response_seconds_total{{{labels}}} 2"),
            format!("sixfold_backend_limit{{{labels}}} 256"),
            format!("sixfold_backend_ejections_total{{{labels},reason=\"stalled\"}} 0"),
            "sixfold_cluster_hedges_total{cluster=\"shown\"} 2".to_owned(),
            "sixfold_cluster_shed_total{cluster=\"shown\",reason=\"queue_full\"} 1".to_owned(),
        ] {
            assert!(text.contains(&line), "{line} is not in\n{text}");
        }
    }
}
