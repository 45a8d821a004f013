//! Another configuration for a balancer that runs.

use std::time::Duration;

use load_balancer::Policy;
use load_balancer::health::State;
use process::Shutdown;
use process::reload::{Cause, Reloader};
use serde_json::{Value, json};

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

#[tokio::test]
async fn a_weight_of_the_file_changes_the_shares_and_forgets_nothing() {
    let (light, heavy) = (Backend::answering(OK).await, Backend::answering(OK).await);
    let weighing = |weights: [f64; 2]| {
        let mut config = config(&[light.address, heavy.address]);
        config.policy = Policy::RoundRobin;
        for (entry, weight) in config.backends.iter_mut().zip(weights) {
            entry.weight = weight;
        }
        config
    };
    let reloader = Reloader::new(weighing([1.0, 1.0]));
    let bound = load_balancer::bind(reloader.part(Clone::clone)).unwrap();
    let balancer = Running::of(bound, Shutdown::new(Duration::from_secs(5)));
    balancer.wait_until(|backends| backends.iter().all(|backend| backend.state == State::Up)).await;
    for _ in 0..8 {
        assert_eq!(balancer.exchange(GET).await.status(), 200);
    }
    assert_eq!((light.count(), heavy.count()), (4, 4));

    let seen = reloader.look_at_files([]);
    reloader.replace(weighing([1.0, 3.0]), Cause::Asked, &seen).unwrap();
    balancer.wait_until(|backends| backends[1].weight == 3.0).await;
    let report = balancer.report().await;
    assert_eq!((report[1].requests, report[1].state), (4, State::Up), "it is the backend it was");
    for _ in 0..40 {
        assert_eq!(balancer.exchange(GET).await.status(), 200);
    }
    assert_eq!((light.count() - 4, heavy.count() - 4), (10, 30), "at once: no slow start for a weight");

    let path = format!("/v1/backends/{}", heavy.address);
    let set = async |weight: Value| balancer.administer("PATCH", &path, &weight.to_string()).await.1;
    assert_eq!(set(json!({"weight": 7})).await["weight"], 7.0);
    reloader.replace(weighing([2.0, 5.0]), Cause::Asked, &seen).unwrap();
    balancer.wait_until(|backends| backends[0].weight == 2.0).await;
    assert_eq!(set(json!({})).await["weight"], 7.0, "the operator's word stands over the file's");
    assert_eq!(set(json!({"weight": null})).await["weight"], 5.0);
}

#[tokio::test]
async fn what_a_reload_says_holds_as_a_whole_and_from_the_next_request_on() {
    let backends = [Backend::answering(OK).await, Backend::answering(OK).await];
    let by = |policy| load_balancer::Config {
        policy,
        explain: serde_json::from_str("\"always\"").unwrap(),
        ..config(&backends.each_ref().map(|one| one.address))
    };
    let reloader = Reloader::new(by(Policy::Random));
    let bound = load_balancer::bind(reloader.part(Clone::clone)).unwrap();
    let balancer = Running::of(bound, Shutdown::new(Duration::from_secs(5)));
    let mut client = balancer.connect().await;
    let seen = reloader.look_at_files([]);
    for (policy, told) in [(Policy::RoundRobin, "policy=round_robin"), (Policy::Random, "policy=random")] {
        reloader.replace(by(policy), Cause::Asked, &seen).unwrap();
        let mut mixed = 0;
        loop {
            client.send(GET).await;
            let explained = client.read_response(false).await.head.get("sixfold-explain").unwrap();
            let told_by = explained.contains("policy=random");
            mixed += u32::from(told_by != explained.contains("why=random"));
            if explained.contains(told) {
                break;
            }
        }
        // One may come in the very moment.
        assert!(mixed <= 1, "of {mixed} answers one half was by the old and one by the new");
    }
}
