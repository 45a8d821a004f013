//! Another configuration for a balancer that runs.

use std::time::Duration;

use process::Shutdown;
use process::reload::{Cause, Reloader};

use crate::support::{Backend, Running, config};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

#[tokio::test]
async fn other_backends_take_over_while_a_request_ends_at_the_old_one() {
    let (old, held) = Backend::holding("GET /slow ", OK).await;
    let (kept, new) = (Backend::answering(OK).await, Backend::answering(OK).await);
    let reloader = Reloader::new(config(&[old.address]));
    let bound = load_balancer::bind(reloader.part(Clone::clone)).unwrap();
    let shutdown = Shutdown::new(Duration::from_secs(5));
    let balancer = Running::of(bound, shutdown);
    let mut busy = balancer.connect().await;
    busy.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").await;
    held.arrived.notified().await;
    let seen = reloader.look_at_files([]);
    reloader.replace(config(&[kept.address, new.address]), Cause::Asked, &seen).unwrap();
    let is_new = |name: &str| name == kept.address.to_string() || name == new.address.to_string();
    balancer.wait_until(|backends| backends.iter().filter(|one| is_new(&one.address)).count() == 2).await;
    let before = old.count();
    for _ in 0..20 {
        assert_eq!(balancer.exchange(GET).await.status(), 200);
    }
    assert_eq!(old.count(), before);
    held.goes_on.notify_one();
    assert_eq!(busy.read_response(false).await.body, "ok");
    let asked = kept.count();
    let requests =
        balancer.report().await.iter().find(|b| b.address == kept.address.to_string()).unwrap().requests;
    reloader.replace(config(&[kept.address]), Cause::Asked, &seen).unwrap();
    balancer.wait_until(|backends| backends.len() == 1).await;
    let report = balancer.report().await;
    assert!(report[0].requests >= requests && kept.count() == asked, "what was known of it is kept");
}
