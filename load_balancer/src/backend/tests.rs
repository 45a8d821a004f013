use std::sync::Arc;

use crate::Cluster;
use crate::cluster::Options;
use crate::selection::Candidate;

use super::*;

fn backend(name: &str) -> (Arc<Cluster>, Arc<Backend>) {
    let cluster = Cluster::new("test", &[name.to_owned()], Options::default());
    let backend = Arc::clone(&cluster.members().backends[0]);
    (cluster, backend)
}

#[test]
fn a_request_counts_as_in_flight_until_its_guard_is_dropped() {
    let (_cluster, backend) = backend("127.0.0.1:1");
    let guard = backend.begin(1);
    assert_eq!(backend.report().in_flight, 1);
    drop(guard);
    let report = backend.report();
    assert_eq!((report.in_flight, report.requests, report.canceled), (0, 1, 1));
}

#[test]
fn a_name_without_an_address_is_not_available() {
    assert!(!backend("no-such-host.invalid:80").1.signals().is_available());
    assert!(backend("localhost:80").1.signals().is_available());
}

#[test]
fn answers_are_told_by_class_and_a_break_counts_as_an_error() {
    let (_cluster, backend) = backend("127.0.0.1:1");
    let now = crate::clock::now_ns();
    for status in [200, 204, 304, 404, 501, 503] {
        backend.begin(now).note_response(status, Some(1_000_000), now);
    }
    let mut broken = backend.begin(now);
    broken.note_response(200, Some(3_000_000), now);
    proxy::Guard::note_broken(&mut broken);
    drop(broken);
    backend.begin(now).note_error(now);
    let report = backend.report();
    let count = |class: &str| report.responses.get(class).copied().unwrap_or_default();
    assert_eq!(["2xx", "3xx", "4xx", "5xx", "error"].map(count), [3, 1, 1, 2, 1]);
    assert_eq!((report.errors, report.in_flight), (3, 0), "503, the break, the error; 501 is an answer");
    assert!(report.max_ms > report.p50_ms && report.requests_per_s > 7.0);
    assert!((report.latency_sum_ms - 9.0).abs() < 0.001);
}

#[test]
fn what_a_backend_tells_of_itself_is_shown() {
    let (_cluster, backend) = backend("127.0.0.1:1");
    assert_eq!(backend.report().own_in_flight, None);
    backend.note_load(crate::selection::Load { in_flight: 3, latency_ns: 1_250_000 }, 1);
    let report = backend.report();
    assert_eq!((report.own_in_flight, report.own_latency_ms), (Some(3), Some(1.25)));
}

#[test]
fn a_report_of_an_older_version_can_be_read() {
    let old = r#"{"address":"a:1","state":"up","in_flight":1,"ewma_ms":1.0,"p50_ms":null,"p90_ms":null,
        "p99_ms":null,"requests":1,"errors":0,"availability":1.0}"#;
    let report: BackendReport = serde_json::from_str(old).unwrap();
    assert_eq!((report.state, report.limit), (State::Up, None));
}

#[test]
fn a_stream_keeps_no_place_from_requests_that_could_be_answered() {
    let (_cluster, backend) = backend("127.0.0.1:1");
    let mut streams = Vec::new();
    for now in 1..=10_000 {
        let mut stream = backend.try_begin(now).expect("streams that have begun take no place");
        stream.note_response(200, Some(1), now);
        streams.push(stream);
    }
    assert_eq!(backend.report().in_flight, 10_000);
    let mut awaited = Vec::new();
    while let Some(request) = backend.try_begin(10_001) {
        awaited.push(request);
        assert!(awaited.len() < 10_000, "what is awaited is limited");
    }
    drop(awaited);
    assert!(backend.has_place() && backend.report().in_flight == 10_000);
    drop(streams);
    assert_eq!(backend.report().in_flight, 0);
}
