//! What is counted for a cluster as a whole.

use std::sync::atomic::Ordering::Relaxed;

use prometheus::{IntCounterVec, IntGaugeVec};

use super::Made;
use crate::Cluster;
use crate::queue::Overloaded;

const CLUSTER: [&str; 1] = ["cluster"];

/// The figures of clusters, by their names.
pub(super) struct ClusterFigures {
    retries: IntCounterVec,
    hedges: IntCounterVec,
    hedges_won: IntCounterVec,
    shed: IntCounterVec,
    waiting: IntGaugeVec,
    total: IntGaugeVec,
    panic: IntGaugeVec,
}

impl ClusterFigures {
    pub(super) fn new(made: &mut Made) -> prometheus::Result<Self> {
        Ok(Self {
            retries: made.count(
                "sixfold_cluster_retries_total",
                "Requests sent to another backend after one failed.",
                &CLUSTER,
            )?,
            hedges: made.count(
                "sixfold_cluster_hedges_total",
                "Requests sent to a second backend because the first was slow.",
                &CLUSTER,
            )?,
            hedges_won: made.count(
                "sixfold_cluster_hedges_won_total",
                "Hedges that were answered first.",
                &CLUSTER,
            )?,
            shed: made.count(
                "sixfold_cluster_shed_total",
                "Requests refused because there was too much work, by reason.",
                &["cluster", "reason"],
            )?,
            waiting: made.level(
                "sixfold_cluster_waiting",
                "Requests that wait for a place at a backend.",
                &CLUSTER,
            )?,
            total: made.level("sixfold_cluster_in_flight", "Requests taken on.", &CLUSTER)?,
            panic: made.level(
                "sixfold_cluster_panic",
                "1 while so few backends are well that all are used.",
                &CLUSTER,
            )?,
        })
    }

    // Gateways of one process may each have a cluster of a name: their counts add up.
    pub(super) fn add(&self, cluster: &Cluster) {
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
}
