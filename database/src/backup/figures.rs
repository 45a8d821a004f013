//! The backup's figures for Prometheus; `sixfold_backup_reachable` at 0 is the alarm.

use std::sync::LazyLock;

use process::metrics;
use prometheus::{Gauge, IntCounterVec, IntGaugeVec};

use super::postgres::ReceivingStatus;
use super::sqlite::ShippingStatus;
use super::status::DrillReport;

/// 1 while what is committed reaches the destination.
pub(super) static REACHABLE: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    metrics::gauge("sixfold_backup_reachable", "1 while commits reach the backup destination.", &[])
});

/// What was stored at the destination.
pub(super) static STORED_BYTES: LazyLock<IntCounterVec> = LazyLock::new(|| {
    metrics::counter(
        "sixfold_backup_stored_bytes_total",
        "Bytes stored at the destination, by kind.",
        &["kind"],
    )
});

/// How many files were stored at the destination.
pub(super) static STORED_FILES: LazyLock<IntCounterVec> = LazyLock::new(|| {
    metrics::counter(
        "sixfold_backup_stored_files_total",
        "Files stored at the destination, by kind.",
        &["kind"],
    )
});

static LAG_COMMITS: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    metrics::gauge("sixfold_backup_lag_commits", "Commits that are not at the destination yet.", &[])
});

static LAG_SECONDS: LazyLock<Gauge> = LazyLock::new(|| {
    number("sixfold_backup_lag_seconds", "Age of the oldest commit that is not at the destination.")
});

/// How much of PostgreSQL's log is not at the destination.
static LAG_BYTES: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    metrics::gauge("sixfold_backup_lag_bytes", "Bytes of PostgreSQL's log that were not received yet.", &[])
});

static RETAINED_BYTES: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    metrics::gauge("sixfold_backup_retained_bytes", "Bytes of log the slot keeps on PostgreSQL's disk.", &[])
});

static SYNCHRONOUS: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    metrics::gauge("sixfold_backup_synchronous", "1 while PostgreSQL's commits wait for the backup.", &[])
});

/// How often pg_receivewal was started; it is again when it ends.
pub(super) static RECEIVER_STARTS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    metrics::counter("sixfold_backup_receiver_starts_total", "Times pg_receivewal was started.", &[])
});

static UNDONE: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    metrics::gauge(
        "sixfold_backup_undone",
        "Kinds of upkeep that failed at the last attempt: base, removal, drill.",
        &[],
    )
});

static DRILL_OK: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    metrics::gauge("sixfold_backup_drill_ok", "1 when the last restore drill gave what was backed up.", &[])
});

static DRILL_AT: LazyLock<Gauge> = LazyLock::new(|| {
    number("sixfold_backup_drill_timestamp_seconds", "When the last restore drill ended, since 1970.")
});

static DRILL_SECONDS: LazyLock<Gauge> =
    LazyLock::new(|| number("sixfold_backup_drill_seconds", "How long the last restore drill took."));

#[allow(clippy::expect_used, reason = "the name is a constant; a test touches it")]
fn number(name: &str, help: &str) -> Gauge {
    let gauge = Gauge::new(name, help).expect("it is valid");
    metrics::register_collector(gauge.clone());
    gauge
}

/// Declares the figures, so that an alarm can rest on them from the start.
pub(super) fn declare() {
    REACHABLE.with_label_values::<&str>(&[]).set(0);
    show_undone(0);
    LAG_COMMITS.with_label_values::<&str>(&[]).set(0);
    LazyLock::force(&LAG_SECONDS);
}

/// Shows how many kinds of upkeep failed at the last attempt.
pub(super) fn show_undone(count: usize) {
    UNDONE.with_label_values::<&str>(&[]).set(i64::try_from(count).unwrap_or(i64::MAX));
}

/// Counts a file that was stored.
pub(super) fn count_stored(kind: &str, bytes: u64) {
    STORED_FILES.with_label_values(&[kind]).inc();
    STORED_BYTES.with_label_values(&[kind]).inc_by(bytes);
}

/// Shows how far the destination is behind.
pub(super) fn show_lag(status: &ShippingStatus) {
    LAG_COMMITS.with_label_values::<&str>(&[]).set(i64::try_from(status.lag_commits).unwrap_or(i64::MAX));
    LAG_SECONDS.set(status.lag_seconds);
}

/// Declares the figures that only PostgreSQL has.
pub(super) fn declare_received() {
    REACHABLE.with_label_values::<&str>(&[]).set(0);
    show_undone(0);
    for gauge in [&LAG_BYTES, &RETAINED_BYTES, &SYNCHRONOUS] {
        gauge.with_label_values::<&str>(&[]).set(0);
    }
    let _ = RECEIVER_STARTS.with_label_values::<&str>(&[]);
    LazyLock::force(&LAG_SECONDS);
}

/// Shows how far what was received is behind.
pub(super) fn show_received(status: &ReceivingStatus) {
    let number = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    LAG_BYTES.with_label_values::<&str>(&[]).set(number(status.lag_bytes));
    RETAINED_BYTES.with_label_values::<&str>(&[]).set(number(status.retained_bytes));
    SYNCHRONOUS.with_label_values::<&str>(&[]).set(i64::from(status.is_synchronous));
    LAG_SECONDS.set(status.lag_seconds);
}

/// Shows what a drill found.
pub(super) fn show_drill(report: &DrillReport) {
    DRILL_OK.with_label_values::<&str>(&[]).set(i64::from(report.fault.is_none()));
    DRILL_AT.set(report.at.as_second() as f64);
    DRILL_SECONDS.set(report.seconds);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figures_are_rendered_under_their_names() {
        declare();
        count_stored("segments", 5);
        let position = crate::backup::Position::Commit(1);
        show_drill(&DrillReport { at: jiff::Timestamp::UNIX_EPOCH, position, seconds: 1.5, fault: None });
        declare_received();
        let text = String::from_utf8(metrics::render()).unwrap();
        for line in [
            "sixfold_backup_reachable 0",
            "sixfold_backup_lag_commits 0",
            "sixfold_backup_lag_seconds 0",
            r#"sixfold_backup_stored_bytes_total{kind="segments"} 5"#,
            "sixfold_backup_drill_ok 1",
            "sixfold_backup_lag_bytes 0",
            "sixfold_backup_retained_bytes 0",
            "sixfold_backup_synchronous 0",
            "sixfold_backup_receiver_starts_total 0",
            "sixfold_backup_drill_seconds 1.5",
        ] {
            assert!(text.contains(line), "{line} is missing in {text}");
        }
    }
}
