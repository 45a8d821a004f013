//! The cache's figures on `/metrics`: the server's, taken from the store when asked for, and the library's.

use std::sync::{Arc, LazyLock, OnceLock, PoisonError, RwLock, Weak};

use process::metrics;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts};

use crate::store::Store;

/// Reads through the library, by what they found.
static READS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    metrics::counter("sixfold_cache_reads_total", "Reads of the shared cache by this process.", &["outcome"])
});

/// Fills through the library, by what became of them.
static FILLS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    metrics::counter("sixfold_cache_fills_total", "Loaded values offered to the shared cache.", &["outcome"])
});

/// Keys invalidated through the library.
static INVALIDATIONS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    metrics::counter("sixfold_cache_invalidations_total", "Keys invalidated by this process.", &["outcome"])
});

/// The library's counters, found once so that a read looks nothing up.
pub(crate) struct LibraryFigures {
    pub(crate) hits: IntCounter,
    pub(crate) misses: IntCounter,
    pub(crate) unavailable: IntCounter,
    pub(crate) coalesced: IntCounter,
    pub(crate) stored: IntCounter,
    pub(crate) refused: IntCounter,
    pub(crate) late: IntCounter,
    pub(crate) unconfirmed: IntCounter,
    pub(crate) invalidated: IntCounter,
    pub(crate) postponed: IntCounter,
    pub(crate) forgotten: IntCounter,
}

/// What this process did with the shared cache.
pub(crate) static LIBRARY: LazyLock<LibraryFigures> = LazyLock::new(|| LibraryFigures {
    hits: READS.with_label_values(&["hit"]),
    misses: READS.with_label_values(&["miss"]),
    unavailable: READS.with_label_values(&["unavailable"]),
    coalesced: READS.with_label_values(&["coalesced"]),
    stored: FILLS.with_label_values(&["stored"]),
    refused: FILLS.with_label_values(&["refused"]),
    late: FILLS.with_label_values(&["late"]),
    unconfirmed: FILLS.with_label_values(&["unconfirmed"]),
    invalidated: INVALIDATIONS.with_label_values(&["done"]),
    postponed: INVALIDATIONS.with_label_values(&["postponed"]),
    forgotten: INVALIDATIONS.with_label_values(&["forgotten"]),
});

/// The store whose figures are shown: the one bound last in this process.
static SHOWN: OnceLock<RwLock<Weak<Store>>> = OnceLock::new();

/// Shows a store's figures for as long as it lives.
pub(crate) fn show(store: &Arc<Store>) {
    let mut is_first = false;
    let shown = SHOWN.get_or_init(|| {
        is_first = true;
        RwLock::new(Weak::new())
    });
    *shown.write().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(store);
    if is_first && let Some(figures) = ServerFigures::new() {
        metrics::register_collector(figures);
    }
}

/// The server's figures.
struct ServerFigures {
    requests: IntCounterVec,
    removals: [IntCounter; 2],
    gauges: [IntGauge; 3],
}

impl ServerFigures {
    /// The names are constants and valid; a test sees each of them.
    fn new() -> Option<Self> {
        let counter = |name, help| IntCounter::new(name, help);
        let gauge = |name, help| IntGauge::new(name, help);
        let made = || -> prometheus::Result<Self> {
            Ok(Self {
                requests: IntCounterVec::new(
                    Opts::new("sixfold_cache_requests_total", "Reads the cache server answered."),
                    &["outcome"],
                )?,
                removals: [
                    counter("sixfold_cache_evictions_total", "Entries removed to make room.")?,
                    counter(
                        "sixfold_cache_expirations_total",
                        "Entries removed because their time was over.",
                    )?,
                ],
                gauges: [
                    gauge("sixfold_cache_entries", "Entries the cache server holds.")?,
                    gauge("sixfold_cache_bytes", "Bytes the cache server holds.")?,
                    gauge("sixfold_cache_limit_bytes", "Bytes the cache server may hold.")?,
                ],
            })
        };
        made().ok()
    }
}

impl Collector for ServerFigures {
    fn desc(&self) -> Vec<&Desc> {
        let removals = self.removals.iter().flat_map(Collector::desc);
        let gauges = self.gauges.iter().flat_map(Collector::desc);
        self.requests.desc().into_iter().chain(removals).chain(gauges).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let shown = SHOWN.get().map(|shown| shown.read().unwrap_or_else(PoisonError::into_inner).clone());
        let Some(store) = shown.and_then(|shown| shown.upgrade()) else { return Vec::new() };
        let now = store.statistics();
        let set = |counter: &IntCounter, figure: u64| {
            counter.reset();
            counter.inc_by(figure);
        };
        set(&self.requests.with_label_values(&["hit"]), now.hits);
        set(&self.requests.with_label_values(&["miss"]), now.misses);
        for (counter, figure) in self.removals.iter().zip([now.evictions, now.expirations]) {
            set(counter, figure);
        }
        for (gauge, figure) in self.gauges.iter().zip([now.entries, now.bytes, now.bytes_limit]) {
            gauge.set(i64::try_from(figure).unwrap_or(i64::MAX));
        }
        let removals = self.removals.iter().flat_map(Collector::collect);
        let gauges = self.gauges.iter().flat_map(Collector::collect);
        self.requests.collect().into_iter().chain(removals).chain(gauges).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Write;

    #[test]
    fn the_server_s_figures_are_those_of_its_store() {
        let store = Arc::new(Store::new(1 << 20, 1 << 10));
        show(&store);
        store.set(b"key", Write::new("value".into()), 0);
        store.get(b"key", 0);
        store.get(b"other", 0);
        let families = ServerFigures::new().unwrap().collect();
        let names: Vec<&str> = families.iter().map(MetricFamily::name).collect();
        assert_eq!(
            names,
            [
                "sixfold_cache_requests_total",
                "sixfold_cache_evictions_total",
                "sixfold_cache_expirations_total",
                "sixfold_cache_entries",
                "sixfold_cache_bytes",
                "sixfold_cache_limit_bytes",
            ]
        );
        LIBRARY.hits.inc();
        let text = String::from_utf8(metrics::render()).unwrap();
        assert!(text.contains("sixfold_cache_reads_total{outcome=\"hit\"}"), "{text}");
    }
}
