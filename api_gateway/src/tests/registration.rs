//! A gateway that joins load balancers by itself: it registers, renews, and leaves before it stops serving.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, State};
use axum::routing::put;
use http::{HeaderMap, Method, StatusCode};
use process::{Reload, Shutdown};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::{CLUSTER_TOKEN, House, PATIENCE, eventually, start_service};
use crate::Settings;

/// A balancer's admin address that notes what it is told.
#[derive(Clone)]
struct Balancer {
    told: Arc<Mutex<Vec<(Method, String, Value)>>>,
    status: Arc<Mutex<StatusCode>>,
    /// Leaving is answered when there is a permit.
    may_leave: Arc<Semaphore>,
}

impl Balancer {
    fn start(tasks: &mut JoinSet<()>) -> (Self, String) {
        let balancer = Self {
            told: Arc::default(),
            status: Arc::new(Mutex::new(StatusCode::CREATED)),
            may_leave: Arc::new(Semaphore::new(0)),
        };
        let routes = Router::new()
            .route("/v1/backends/{backend}", put(take).delete(leave))
            .with_state(balancer.clone());
        // It outlives the gateway.
        let address = start_service(routes, tasks, &Shutdown::new(PATIENCE));
        (balancer, format!("http://{address}"))
    }

    fn count(&self, method: &Method) -> usize {
        self.told.lock().unwrap().iter().filter(|(told, ..)| told == method).count()
    }
}

async fn take(
    State(balancer): State<Balancer>,
    Path(backend): Path<String>,
    fields: HeaderMap,
    body: String,
) -> StatusCode {
    assert_eq!(fields["sixfold-token"], CLUSTER_TOKEN);
    balancer.told.lock().unwrap().push((Method::PUT, backend, serde_json::from_str(&body).unwrap()));
    *balancer.status.lock().unwrap()
}

async fn leave(State(balancer): State<Balancer>, Path(backend): Path<String>) -> StatusCode {
    balancer.told.lock().unwrap().push((Method::DELETE, backend, Value::Null));
    balancer.may_leave.acquire().await.unwrap().forget();
    StatusCode::NO_CONTENT
}

#[tokio::test]
async fn it_registers_with_every_balancer_and_renews() {
    let mut tasks = JoinSet::new();
    let (one, one_url) = Balancer::start(&mut tasks);
    let (other, other_url) = Balancer::start(&mut tasks);
    let settings = json!({
        "register": [one_url, other_url], "register_lease": "1s", "register_weight": 0.5,
    });
    let house = House::start(settings).await;
    eventually("both are told three times", async || {
        one.count(&Method::PUT) >= 3 && other.count(&Method::PUT) >= 3
    })
    .await;
    let told = one.told.lock().unwrap()[0].clone();
    assert_eq!(told.1, house.gateway);
    assert_eq!(told.2, json!({"weight": 0.5, "lease": "1s"}));
    one.may_leave.add_permits(1);
    other.may_leave.add_permits(1);
    house.stop().await;
    assert_eq!((one.count(&Method::DELETE), other.count(&Method::DELETE)), (1, 1));
    assert_eq!(one.told.lock().unwrap().last().unwrap().0, Method::DELETE, "nothing follows the leaving");
}

#[tokio::test]
async fn it_serves_until_the_balancer_has_let_it_go() {
    let mut tasks = JoinSet::new();
    let (balancer, url) = Balancer::start(&mut tasks);
    let house = House::start(json!({"register": [url]})).await;
    eventually("it is registered", async || balancer.count(&Method::PUT) == 1).await;
    house.shutdown.request();
    eventually("it leaves", async || balancer.count(&Method::DELETE) == 1).await;
    // New connections are taken while the balancer has not answered; a request may be on the way here.
    let answer = house.get("/livez", &[]).await;
    assert_eq!(answer.status, StatusCode::OK);
    balancer.may_leave.add_permits(1);
    let gateway = house.gateway.clone();
    house.stop().await;
    assert!(tokio::net::TcpStream::connect(gateway).await.is_err(), "and not after");
}

#[tokio::test]
async fn a_balancer_that_refuses_is_asked_again_and_holds_up_no_other() {
    let mut tasks = JoinSet::new();
    let (balancer, url) = Balancer::start(&mut tasks);
    *balancer.status.lock().unwrap() = StatusCode::SERVICE_UNAVAILABLE;
    let nobody = "http://127.0.0.1:1".to_owned();
    let house = House::start(json!({"register": [nobody, url]})).await;
    eventually("it asks again", async || balancer.count(&Method::PUT) >= 2).await;
    *balancer.status.lock().unwrap() = StatusCode::CREATED;
    let asked = balancer.count(&Method::PUT);
    eventually("it asks until it may", async || balancer.count(&Method::PUT) > asked).await;
    balancer.may_leave.add_permits(1);
    house.stop().await;
}

#[tokio::test]
async fn a_balancer_that_does_not_answer_costs_at_most_half_of_the_grace() {
    let mut tasks = JoinSet::new();
    let (balancer, url) = Balancer::start(&mut tasks);
    let house = House::start(json!({"register": [url]})).await;
    eventually("it is registered", async || balancer.count(&Method::PUT) == 1).await;
    // Nobody may leave; the test's patience is longer than the deadline of one call.
    tokio::time::timeout(PATIENCE - Duration::from_secs(1), house.stop()).await.unwrap();
}

#[tokio::test]
async fn who_listens_everywhere_must_say_where_it_is() {
    let config: crate::Config =
        serde_json::from_value(json!({"register": ["http://127.0.0.1:1"], "default_routes": false})).unwrap();
    let (services, token) = (process::Services::default(), process::ClusterToken::default());
    let error = crate::bind(Reload::fixed(Settings { config, services }), "0.0.0.0:0", &token)
        .unwrap_err()
        .to_string();
    assert!(error.contains("api_gateway.advertise"), "{error}");
}
