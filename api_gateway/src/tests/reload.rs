//! New settings while requests pass.

use process::reload::{Cause, Reloader};

use super::*;

/// A service that refuses nothing and is not probed soon, and routes to it.
fn settings(service: &str, extra: Value) -> Settings {
    let mut config = json!({"default_routes": false, "probe": {"interval": "1h"}, "routes": [
        {"path": "/old/{*rest}", "service": "mine", "public": true, "rate": {"per_second": 1, "burst": 2}},
    ]});
    for (key, value) in extra.as_object().unwrap() {
        config[key] = value.clone();
    }
    let services = json!({"mine": {"instances": [service]}});
    Settings {
        config: serde_json::from_value(config).unwrap(),
        services: serde_json::from_value(services).unwrap(),
    }
}

fn with_new_route(service: &str) -> Settings {
    let mut new = settings(service, json!({"body_limit": "2MiB"}));
    let route = json!({"path": "/new/{*rest}", "service": "mine", "public": true});
    new.config.routes.insert(0, serde_json::from_value(route).unwrap());
    new
}

#[tokio::test]
async fn a_new_route_answers_and_what_is_known_of_the_rest_stays() {
    let (mut tasks, shutdown) = (JoinSet::new(), Shutdown::new(Duration::from_secs(5)));
    let service = start_service(service_routes(json!({"keys": []})), &mut tasks, &shutdown);
    let reloader = Reloader::new(settings(&service, json!({})));
    let bound = crate::bind(reloader.part(Settings::clone), "127.0.0.1:0", &ClusterToken::default()).unwrap();
    let base = format!("http://{}", bound.address().unwrap());
    let admin = bound.admin.clone();
    let stop = shutdown.clone();
    tasks.spawn(async move { bound.run(stop).await.unwrap() });
    let client = HttpClient::with_credential(None, PATIENCE);
    let get = async |path: &str| client.get(&format!("{base}{path}")).await.unwrap().status.as_u16();

    assert_eq!((get("/new/a").await, get("/old/a").await, get("/old/a").await), (404, 200, 200));
    assert_eq!(get("/old/a").await, 429, "the burst is used");
    let seen = reloader.look_at_files([]);
    reloader.replace(with_new_route(&service), Cause::FileChanged, &seen).unwrap();
    eventually("the new route is there", async || get("/new/a").await == 200).await;
    // The route has another place in the table now, and its clients are still known.
    assert_eq!(get("/old/a").await, 429, "what a client has used of a rate is not forgotten");

    let port = base.rsplit_once(':').unwrap().1;
    let request =
        Request::get(format!("/v1/gateways/{port}/services")).body(axum::body::Body::empty()).unwrap();
    let response = tower::ServiceExt::oneshot(admin, request).await.unwrap();
    let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
    let report: Value = serde_json::from_slice(&body).unwrap();
    assert!(report["services"][0]["instances"][0]["requests"].as_u64().unwrap() >= 3, "{report}");

    reloader.replace(settings(&service, json!({})), Cause::FileChanged, &seen).unwrap();
    eventually("the route is gone again", async || get("/new/a").await == 404).await;
    shutdown.request();
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
}

#[tokio::test]
async fn a_circuit_that_is_open_stays_open() {
    let (mut tasks, shutdown) = (JoinSet::new(), Shutdown::new(Duration::from_secs(5)));
    let service = start_service(service_routes(json!({"keys": []})), &mut tasks, &shutdown);
    let breaker = json!({"breaker": {"consecutive_failures": 2, "open_for": "1h"}});
    let without_rate = |extra: Value| {
        let mut settings = settings(&service, extra);
        settings.config.routes[0].rate = None;
        settings
    };
    let reloader = Reloader::new(without_rate(breaker.clone()));
    let bound = crate::bind(reloader.part(Settings::clone), "127.0.0.1:0", &ClusterToken::default()).unwrap();
    let base = format!("http://{}", bound.address().unwrap());
    let stop = shutdown.clone();
    tasks.spawn(async move { bound.run(stop).await.unwrap() });
    let client = HttpClient::with_credential(None, PATIENCE);
    let get = async |path: &str| client.get(&format!("{base}{path}")).await.unwrap();

    for _ in 0..2 {
        assert_eq!(get("/old/status/503").await.status, 503);
    }
    assert_eq!(problem(&get("/old/a").await), (503, "circuit-open".to_owned()));
    let mut next = without_rate(json!({"breaker": {"consecutive_failures": 9, "open_for": "1h"}}));
    let route = json!({"path": "/probe", "service": "mine", "public": true, "methods": ["PUT"]});
    next.config.routes.push(serde_json::from_value(route).unwrap());
    reloader.replace(next, Cause::FileChanged, &reloader.look_at_files([])).unwrap();
    eventually("the new routes hold", async || get("/probe").await.status == 405).await;
    assert_eq!(problem(&get("/old/a").await), (503, "circuit-open".to_owned()));
    shutdown.request();
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
}
