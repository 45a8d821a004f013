//! What is known about backends, for Prometheus: read from the atomics when it is asked for.

use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntCounterVec, IntGaugeVec, Opts};

use crate::Cluster;

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

const LABELS: [&str; 2] = ["cluster", "backend"];

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
    in_flight: IntGaugeVec,
    up: IntGaugeVec,
    latency: prometheus::GaugeVec,
}

impl Figures {
    fn new() -> Option<Self> {
        let opts = |name: &str, help: &str| Opts::new(name, help);
        let made = || -> prometheus::Result<Self> {
            Ok(Self {
                requests: IntCounterVec::new(
                    opts("sixfold_backend_requests_total", "Requests sent to a backend."),
                    &LABELS,
                )?,
                errors: IntCounterVec::new(
                    opts("sixfold_backend_errors_total", "Requests a backend failed or answered with 5xx."),
                    &LABELS,
                )?,
                in_flight: IntGaugeVec::new(
                    opts("sixfold_backend_in_flight", "Requests a backend is working on."),
                    &LABELS,
                )?,
                up: IntGaugeVec::new(
                    opts("sixfold_backend_up", "1 if a backend gets requests, 0 if it is out."),
                    &LABELS,
                )?,
                latency: prometheus::GaugeVec::new(
                    opts("sixfold_backend_ewma_seconds", "Estimated latency of a backend."),
                    &LABELS,
                )?,
            })
        };
        made().ok()
    }

    fn collectors(&self) -> [&dyn Collector; 5] {
        [&self.requests, &self.errors, &self.in_flight, &self.up, &self.latency]
    }

    fn descriptions(&self) -> Vec<Desc> {
        self.collectors().iter().flat_map(|one| one.desc().into_iter().cloned()).collect()
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
            for report in cluster.report() {
                // Gateways of one process may each have a cluster of a name: their counts add up.
                let labels = [cluster.name(), report.address.as_str()];
                figures.requests.with_label_values(&labels).inc_by(report.requests);
                figures.errors.with_label_values(&labels).inc_by(report.errors);
                figures.in_flight.with_label_values(&labels).add(i64::from(report.in_flight));
                figures.up.with_label_values(&labels).set(i64::from(report.state.is_available()));
                figures.latency.with_label_values(&labels).set(report.ewma_ms / 1000.0);
            }
        }
        figures.collectors().iter().flat_map(|one| one.collect()).collect()
    }
}
