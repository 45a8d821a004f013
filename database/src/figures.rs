//! The database's figures for Prometheus.

use std::sync::LazyLock;
use std::time::Duration;

use process::metrics;
use prometheus::{GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts};

use crate::job::QueueFigures;

/// Upper bounds of the callers that share a commit, in powers of two up to the default batch.
const BATCH_BUCKETS: [f64; 9] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];

/// Seconds from taking a batch to its commit, fsync included.
pub(crate) static COMMIT_SECONDS: LazyLock<HistogramVec> = LazyLock::new(|| {
    metrics::latency("sixfold_database_commit_seconds", "Seconds to write and commit a batch.", &[])
});

/// Seconds of the commit itself, which is the fsync.
pub(crate) static FSYNC_SECONDS: LazyLock<HistogramVec> = LazyLock::new(|| {
    metrics::latency("sixfold_database_fsync_seconds", "Seconds of a commit's COMMIT, its fsync.", &[])
});

/// Callers that shared a commit.
#[allow(clippy::expect_used, reason = "the name and buckets are constants; a test touches them")]
pub(crate) static BATCH_SIZE: LazyLock<Histogram> = LazyLock::new(|| {
    let options = HistogramOpts::new("sixfold_database_batch_size", "Callers that shared one commit.");
    let batch_size = Histogram::with_opts(options.buckets(BATCH_BUCKETS.to_vec())).expect("it is valid");
    metrics::register_collector(batch_size.clone());
    batch_size
});

/// Batches that could not be committed.
pub(crate) static FAILED_COMMITS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    metrics::counter("sixfold_database_failed_commits_total", "Batches that the storage did not take.", &[])
});

/// Rows that were removed because they were too old or too many.
pub(crate) static TRIMMED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    metrics::counter("sixfold_database_trimmed_total", "Changes and ended jobs that were removed.", &["what"])
});

/// Questions that a replica was asked and the primary had to answer.
pub(crate) static REPLICA_FAILURES: LazyLock<IntCounterVec> = LazyLock::new(|| {
    metrics::counter(
        "sixfold_database_replica_failures_total",
        "Reads that a replica did not answer and the primary did.",
        &["replica"],
    )
});

static READS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    metrics::counter(
        "sixfold_database_reads_total",
        "Questions about records on PostgreSQL, by the server that answered.",
        &["target"],
    )
});

static REPLICA_SERVING: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    metrics::gauge("sixfold_database_replica_serving", "1 while a replica is read.", &["replica"])
});

#[allow(clippy::expect_used, reason = "the name and label are constants; a test touches them")]
static REPLICA_LAG: LazyLock<GaugeVec> = LazyLock::new(|| {
    let help = "How far back a replica is at most; absent while that is not known.";
    let lag = GaugeVec::new(Opts::new("sixfold_database_replica_lag_seconds", help), &["replica"]);
    let lag = lag.expect("it is valid");
    metrics::register_collector(lag.clone());
    lag
});

static WRITABLE: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    metrics::gauge(
        "sixfold_database_writable",
        "1 while writes go: the last one succeeded and none is refused.",
        &[],
    )
});

static FILE_BYTES: LazyLock<IntGaugeVec> =
    LazyLock::new(|| metrics::gauge("sixfold_database_file_bytes", "The size of SQLite's file.", &[]));

static FREE_BYTES: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    metrics::gauge("sixfold_database_free_bytes", "What in SQLite's file holds nothing.", &[])
});

static LOG_BYTES: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    metrics::gauge("sixfold_database_log_bytes", "The size of SQLite's write-ahead log.", &[])
});

static OPERATIONS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    metrics::counter("sixfold_database_operations_total", "Operations asked for.", &["operation"])
});

static QUEUE_JOBS: LazyLock<IntGaugeVec> =
    LazyLock::new(|| metrics::gauge("sixfold_queue_jobs", "Jobs by queue and state.", &["queue", "state"]));

#[allow(clippy::expect_used, reason = "the name and label are constants; a test touches them")]
static QUEUE_OLDEST: LazyLock<GaugeVec> = LazyLock::new(|| {
    let options =
        Opts::new("sixfold_queue_oldest_ready_seconds", "How long the oldest ready job has waited.");
    let oldest = GaugeVec::new(options, &["queue"]).expect("it is valid");
    metrics::register_collector(oldest.clone());
    oldest
});

/// Declares the figures that have no labels, so that they are shown, as zero, before the first write.
pub(crate) fn declare() {
    let _ = COMMIT_SECONDS.with_label_values::<&str>(&[]);
    let _ = FSYNC_SECONDS.with_label_values::<&str>(&[]);
    LazyLock::force(&BATCH_SIZE);
    let _ = FAILED_COMMITS.with_label_values::<&str>(&[]);
    show_writable(true);
}

/// Shows whether writes go.
pub(crate) fn show_writable(writable: bool) {
    WRITABLE.with_label_values::<&str>(&[]).set(i64::from(writable));
}

/// Shows how long SQLite's file is, how much of it is free, and how long its log is, in bytes.
pub(crate) fn show_space(file: u64, free: u64, log: u64) {
    for (gauge, bytes) in [(&FILE_BYTES, file), (&FREE_BYTES, free), (&LOG_BYTES, log)] {
        gauge.with_label_values::<&str>(&[]).set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }
}

/// Counts an operation.
pub(crate) fn count(operation: &str) {
    OPERATIONS.with_label_values(&[operation]).inc();
}

/// Counts a question by who answered it.
pub(crate) fn count_read(target: &str) {
    READS.with_label_values(&[target]).inc();
}

/// Shows whether a replica is read, and how far back it is at most.
pub(crate) fn show_replica(name: &str, is_serving: bool, lag: Option<Duration>) {
    REPLICA_SERVING.with_label_values(&[name]).set(i64::from(is_serving));
    let _ = REPLICA_FAILURES.with_label_values(&[name]);
    match lag {
        Some(lag) => REPLICA_LAG.with_label_values(&[name]).set(lag.as_secs_f64()),
        // An error means that it was not shown.
        None => drop(REPLICA_LAG.remove_label_values(&[name])),
    }
}

/// Shows how full the queues are; one that emptied is no longer shown.
pub(crate) fn show_queues(queues: &[QueueFigures]) {
    QUEUE_JOBS.reset();
    QUEUE_OLDEST.reset();
    for queue in queues {
        let states = [
            ("scheduled", queue.scheduled),
            ("ready", queue.ready),
            ("leased", queue.leased),
            ("dead", queue.dead),
        ];
        for (state, count) in states {
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            QUEUE_JOBS.with_label_values(&[queue.queue.as_str(), state]).set(count);
        }
        let oldest = queue.oldest_ready.unwrap_or_default().as_secs_f64();
        QUEUE_OLDEST.with_label_values(&[queue.queue.as_str()]).set(oldest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replica_of_which_nothing_is_known_has_no_lag() {
        let shown = || String::from_utf8(metrics::render()).unwrap();
        show_replica("standby:1", true, Some(Duration::from_millis(250)));
        count_read("standby:1");
        for line in [
            r#"sixfold_database_replica_serving{replica="standby:1"} 1"#,
            r#"sixfold_database_replica_lag_seconds{replica="standby:1"} 0.25"#,
            r#"sixfold_database_replica_failures_total{replica="standby:1"} 0"#,
            r#"sixfold_database_reads_total{target="standby:1"} 1"#,
        ] {
            assert!(shown().contains(line), "{line} is missing in {}", shown());
        }
        show_replica("standby:1", false, None);
        assert!(!shown().contains("lag_seconds{replica=\"standby:1\""), "{}", shown());
    }

    #[test]
    fn the_figures_are_rendered_under_their_names() {
        count("put");
        declare();
        show_space(8192, 4096, 32);
        show_queues(&[QueueFigures {
            queue: "mail".into(),
            scheduled: 0,
            ready: 2,
            leased: 0,
            dead: 0,
            oldest_ready: Some(Duration::from_millis(1500)),
        }]);
        let text = String::from_utf8(metrics::render()).unwrap();
        for line in [
            r#"sixfold_queue_jobs{queue="mail",state="ready"} 2"#,
            r#"sixfold_queue_oldest_ready_seconds{queue="mail"} 1.5"#,
            "sixfold_database_commit_seconds_count",
            "sixfold_database_fsync_seconds_count",
            "sixfold_database_batch_size_count",
            "sixfold_database_file_bytes 8192",
            "sixfold_database_free_bytes 4096",
            "sixfold_database_log_bytes 32",
            r#"sixfold_database_operations_total{operation="put"}"#,
        ] {
            assert!(text.contains(line), "{line} is missing in {text}");
        }
    }
}
