//! What is known about backends and clusters, for Prometheus: read from the atomics when it is asked for.

mod backend;
mod cluster;

use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{CounterVec, GaugeVec, IntCounterVec, IntGaugeVec, Opts};

use crate::Cluster;

use backend::BackendFigures;
use cluster::ClusterFigures;

static CLUSTERS: LazyLock<Mutex<Vec<Weak<Cluster>>>> = LazyLock::new(|| {
    process::metrics::register_collector(Clusters::new());
    Mutex::default()
});

/// Shows a cluster's figures for as long as it lives.
pub(crate) fn show(cluster: &Arc<Cluster>) {
    let mut clusters = CLUSTERS.lock().unwrap_or_else(PoisonError::into_inner);
    clusters.retain(|cluster| cluster.strong_count() > 0);
    clusters.push(Arc::downgrade(cluster));
}

/// Figures of all clusters of the process.
struct Clusters {
    descriptions: Vec<Desc>,
}

impl Clusters {
    fn new() -> Self {
        let made = Figures::new().map(|figures| figures.made).unwrap_or_default();
        Self { descriptions: made.0.iter().flat_map(|one| one.desc().into_iter().cloned()).collect() }
    }
}

/// The figures of one answer to Prometheus, made anew for each.
struct Figures {
    backend: BackendFigures,
    cluster: ClusterFigures,
    made: Made,
}

impl Figures {
    fn new() -> prometheus::Result<Self> {
        let mut made = Made::default();
        Ok(Self { backend: BackendFigures::new(&mut made)?, cluster: ClusterFigures::new(&mut made)?, made })
    }
}

/// Makes figures, and keeps each, so that none is made that is not shown.
#[derive(Default)]
struct Made(Vec<Box<dyn Collector>>);

impl Made {
    fn count(&mut self, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<IntCounterVec> {
        IntCounterVec::new(Opts::new(name, help), labels).map(|one| self.keep(one))
    }

    fn sum(&mut self, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<CounterVec> {
        CounterVec::new(Opts::new(name, help), labels).map(|one| self.keep(one))
    }

    fn level(&mut self, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<IntGaugeVec> {
        IntGaugeVec::new(Opts::new(name, help), labels).map(|one| self.keep(one))
    }

    fn gauge(&mut self, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<GaugeVec> {
        GaugeVec::new(Opts::new(name, help), labels).map(|one| self.keep(one))
    }

    // A copy of a figure is the same figure.
    fn keep<F: Collector + Clone + 'static>(&mut self, figure: F) -> F {
        self.0.push(Box::new(figure.clone()));
        figure
    }
}

impl Collector for Clusters {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let Ok(figures) = Figures::new() else { return Vec::new() };
        let clusters: Vec<Arc<Cluster>> = {
            let clusters = CLUSTERS.lock().unwrap_or_else(PoisonError::into_inner);
            clusters.iter().filter_map(Weak::upgrade).collect()
        };
        for cluster in clusters {
            figures.cluster.add(&cluster);
            for report in cluster.report() {
                figures.backend.add(cluster.name(), &report);
            }
        }
        figures.made.0.iter().flat_map(|one| one.collect()).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::Relaxed;

    use super::*;
    use crate::Options;
    use crate::queue::Overloaded;

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
