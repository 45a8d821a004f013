//! A gateway over real sockets, before real services, with real keys.

mod authentication;
mod failure;
mod forwarding;
mod limits;
mod load;
mod registration;
mod reload;

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use process::client::Answer;
use process::http::{Limits, serve};
use process::{Bound, ClusterToken, HttpClient, Reload, Secret, Services, Shutdown, listen};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::token::testing::Issuer;
use crate::{Config, Settings};

/// How long anything may take before a test gives up; far more than it takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// The token gateway and services of the house share in tests.
const CLUSTER_TOKEN: &str = "cluster-token";

/// A gateway, the service behind it and the issuer of tokens.
struct House {
    gateway: String,
    admin: axum::Router,
    issuer: Issuer,
    shutdown: Shutdown,
    client: HttpClient,
    tasks: JoinSet<()>,
}

impl House {
    /// Starts an echoing service and a gateway before it; `settings` are laid over `[api_gateway]`.
    async fn start(settings: Value) -> Self {
        let issuer = Issuer::new("k1");
        let mut tasks = JoinSet::new();
        let shutdown = Shutdown::new(Duration::from_secs(5));
        let service = start_service(service_routes(issuer.jwks()), &mut tasks, &shutdown);
        Self::before(issuer, &service, settings, tasks, shutdown).await
    }

    /// Starts a gateway before a service at an address, which is `accounts`, `catalog`, `orders`, `worker`
    /// and, as no part of the house, `outside`.
    async fn before(
        issuer: Issuer,
        service: &str,
        settings: Value,
        mut tasks: JoinSet<()>,
        shutdown: Shutdown,
    ) -> Self {
        let inside = json!({"instances": [service], "internal": true});
        let services: Services = serde_json::from_value(json!({
            "accounts": inside, "catalog": inside, "orders": inside, "worker": inside,
            "outside": {"instances": [service]},
        }))
        .unwrap();
        let config: Config = serde_json::from_value(settings).unwrap();
        let token = ClusterToken::new(Some(Secret::new(CLUSTER_TOKEN)));
        let bound: Bound =
            crate::bind(Reload::fixed(Settings { config, services }), "127.0.0.1:0", &token).unwrap();
        let gateway = bound.address().unwrap().to_string();
        let admin = bound.admin.clone();
        let stop = shutdown.clone();
        tasks.spawn(async move { bound.run(stop).await.unwrap() });
        let client = HttpClient::with_credential(None, PATIENCE);
        Self { gateway, admin, issuer, shutdown, client, tasks }
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        fields: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        let url = format!("http://{}{path}", self.gateway);
        let mut request = Request::builder().method(method).uri(&url);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        self.client.send(&url, request, body.into(), PATIENCE).await.unwrap()
    }

    async fn get(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        self.send(Method::GET, path, fields, "").await
    }

    /// Gives the `Authorization` field of a user.
    fn authorize(&self, subject: &str, roles: &[&str]) -> String {
        format!("Bearer {}", self.issuer.token(subject, roles))
    }

    /// Asks the gateway's admin route.
    async fn report(&self) -> Value {
        use axum::body::Body;
        use tower::ServiceExt;
        let port = self.gateway.rsplit_once(':').unwrap().1;
        let request = Request::get(format!("/v1/gateways/{port}/services")).body(Body::empty()).unwrap();
        let response = self.admin.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        serde_json::from_slice(&body).unwrap()
    }

    /// Stops everything and sees it end.
    async fn stop(mut self) {
        self.shutdown.request();
        let ended = async {
            while let Some(ended) = self.tasks.join_next().await {
                ended.unwrap();
            }
        };
        tokio::time::timeout(PATIENCE, ended).await.expect("everything ends");
    }
}

/// Serves routes at a port of their own and gives the address.
fn start_service(routes: axum::Router, tasks: &mut JoinSet<()>, shutdown: &Shutdown) -> String {
    serve_at("127.0.0.1:0", routes, tasks, shutdown)
}

fn serve_at(address: &str, routes: axum::Router, tasks: &mut JoinSet<()>, shutdown: &Shutdown) -> String {
    let listener = listen::bind_public("service", address).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let shutdown = shutdown.clone();
    tasks.spawn(async move { serve(listener, routes, &shutdown, Limits::default()).await });
    address
}

/// A service that publishes keys and schemas and otherwise tells what it was sent.
fn service_routes(jwks: Value) -> axum::Router {
    use axum::routing::get;
    use axum::{Json, Router};
    let schemas = json!({"collections": {"/catalog/products": {"schema": {
        "type": "object",
        "properties": {"name": {"type": "string"}, "price": {"type": "number", "minimum": 0}},
        "required": ["name", "price"],
    }}}});
    Router::new()
        .route("/health", get(|| async { "ok" }))
        .route("/.well-known/jwks.json", get(move || std::future::ready(Json(jwks))))
        .route(process::services::SCHEMAS_PATH, get(move || std::future::ready(Json(schemas))))
        .fallback(echo)
}

/// Tells what it was sent; a path that ends in `/status/N` is answered with N.
async fn echo(request: axum::extract::Request) -> (StatusCode, axum::Json<Value>) {
    let (head, body) = request.into_parts();
    let status = head.uri.path().split_once("/status/").map_or(200, |(_, status)| status.parse().unwrap());
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap_or_default();
    let fields: serde_json::Map<String, Value> = head
        .headers
        .iter()
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into()))
        .collect();
    let told = json!({
        "method": head.method.as_str(), "target": head.uri.to_string(), "fields": fields, "size": body.len(),
    });
    (StatusCode::from_u16(status).unwrap(), axum::Json(told))
}

fn json_of(answer: &Answer) -> Value {
    serde_json::from_slice(&answer.body).unwrap_or(Value::Null)
}

/// Gives the status and the end of the problem's type.
fn problem(answer: &Answer) -> (u16, String) {
    let kind = json_of(answer)["type"].as_str().unwrap_or_default().rsplit(':').next().unwrap().to_owned();
    (answer.status.as_u16(), kind)
}

/// Waits for a condition, since nothing tells when it holds.
async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("never: {what}"));
}
