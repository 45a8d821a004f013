//! Requests and answers that two parsers could read in two ways: none of them gets through.
//!
//! `judge` sends a case and says what is wrong with what came of it; the tables are beside it: `framing`,
//! `chunks`, `lines`, `targets` for HTTP/1 requests, `answers` for what a backend sends, `http2` for raw
//! frames. Behind the tested role stands a backend that keeps every byte and reads it with a parser of its own.

mod answers;
mod chunks;
mod frames;
mod framing;
mod http2;
mod judge;
mod lines;
mod targets;

use judge::{Case, judge_all};
use system_tests::Alone;
use system_tests::recorder::Recorder;

/// Short, so that a case that leaves the balancer waiting is answered 408 soon.
const BALANCER: &str = "threads = 1\nheader_timeout = \"2s\"\n";

/// Targets that no route of a gateway can name: it says 404 before anything else, and goes on.
const WITHOUT_ROUTE: [&str; 6] = [
    "absolute form without a path",
    "a target without a slash",
    "a target that is a host and port",
    "asterisk form with GET",
    "CONNECT",
    "CONNECT in absolute form",
];

fn table() -> Vec<Case> {
    [framing::cases(), chunks::cases(), lines::cases(), targets::cases()].into_iter().flatten().collect()
}

#[test]
fn the_table_is_as_long_as_promised_and_every_name_is_its_own() {
    let table = table();
    let names: std::collections::BTreeSet<_> = table.iter().map(|case| case.name).collect();
    assert!(names.len() == table.len() && names.len() >= 60, "{} names, {} cases", names.len(), table.len());
}

#[test]
fn no_malformed_request_gets_through_the_balancer() {
    let backend = Recorder::start();
    let balancer = Alone::balancer(&[backend.address()], BALANCER);
    judge_all(&table(), balancer.address, &backend, None);
}

#[test]
fn no_malformed_request_gets_through_the_balancer_when_it_comes_byte_by_byte() {
    let backend = Recorder::start();
    let balancer = Alone::balancer(&[backend.address()], BALANCER);
    judge_all(&table(), balancer.address, &backend, Some(1));
}

#[test]
fn no_malformed_request_gets_through_a_gateway() {
    let backend = Recorder::start();
    let gateway = Alone::gateway(backend.address(), "");
    let mut table = table();
    table.retain(|case| !WITHOUT_ROUTE.contains(&case.name));
    judge_all(&table, gateway.address, &backend, None);
}
