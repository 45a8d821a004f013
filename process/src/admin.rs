//! The admin address of a process: `/metrics`, `/health`, and what its roles add.

use axum::routing::get;
use axum::{Json, Router, middleware};
use http::{HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};

use crate::health::HealthReport;
use crate::http::{Limits, observe, serve};
use crate::problem::{Problem, kinds};
use crate::{Bound, ClusterToken, Health, Listening, RoleError, coding, listen, metrics, named_here, token};

/// What the admin address's `/health` answers: the health of each role of the process.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ProcessHealth {
    /// Every role, in the order they were bound.
    pub roles: Vec<HealthReport>,
}

/// Binds the admin address for roles that are bound already.
///
/// Health needs no token; everything else takes the cluster token where one is set, and must be asked by a
/// loopback name where none is.
pub fn bind(address: &str, token: &ClusterToken, roles: &[Bound]) -> Result<Bound, RoleError> {
    let listener = listen::bind_internal("admin", address, token)?;
    let local = listener.local_addr().map_err(|error| RoleError::start("admin", error))?;
    let health = Health::new("admin");
    let router = router(token, roles);
    let own_health = health.clone();
    let run = async move |shutdown| {
        own_health.set_ready();
        serve(listener, router, &shutdown, Limits::default()).await;
        Ok(())
    };
    Ok(Bound::new(vec![Listening { protocol: "http", address: local }], "admin", health, run))
}

fn router(token: &ClusterToken, roles: &[Bound]) -> Router {
    let guarded = roles
        .iter()
        .fold(Router::new().route("/metrics", get(write_metrics)), |all, role| all.merge(role.admin.clone()))
        .layer(middleware::from_fn(coding::refuse_coded))
        .layer(middleware::from_fn_with_state(token.clone(), token::require))
        .layer(middleware::from_fn_with_state(token.clone(), named_here::require));
    let healths: Vec<Health> = roles.iter().map(|role| role.health.clone()).collect();
    let health = move || {
        let report = ProcessHealth { roles: healths.iter().map(Health::report).collect() };
        let all_serve = report.roles.iter().all(|role| role.serving);
        let status = if all_serve { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        std::future::ready((status, Json(report)))
    };
    Router::new()
        .route("/health", get(health.clone()))
        .route("/readyz", get(health))
        .route("/livez", get(|| async { "ok\n" }))
        .merge(guarded)
        .fallback(async || Problem::new(kinds::NOT_FOUND))
        .method_not_allowed_fallback(async || Problem::new(kinds::METHOD_NOT_ALLOWED))
        .layer(middleware::from_fn_with_state("admin", observe))
}

async fn write_metrics() -> ([(header::HeaderName, HeaderValue); 1], Vec<u8>) {
    let media_type = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    ([(header::CONTENT_TYPE, media_type)], metrics::render())
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;
    use tokio::task::JoinSet;

    use super::*;
    use crate::{Secret, Shutdown};

    async fn status(address: SocketAddr, path: &str, host: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nSixfold-Token: t\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer[9..12].to_owned()
    }

    #[tokio::test]
    async fn a_body_in_a_coding_is_refused() {
        let bound = bind("127.0.0.1:0", &ClusterToken::default(), &[]).unwrap();
        let address = bound.address().unwrap();
        let shutdown = Shutdown::new(Duration::from_secs(5));
        let mut running = JoinSet::new();
        running.spawn(bound.run(shutdown.clone()));
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!(
            "GET /metrics HTTP/1.1\r\nHost: {address}\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\
             Connection: close\r\n\r\n{{}}"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(
            answer.starts_with("HTTP/1.1 415 ") && answer.contains("accept-encoding: identity"),
            "{answer}"
        );
        shutdown.request();
        running.join_next().await.unwrap().unwrap().unwrap();
    }

    #[tokio::test]
    async fn without_a_token_it_answers_only_to_names_of_this_machine() {
        for (token, elsewhere) in [(None, "421"), (Some(Secret::new("t")), "200")] {
            let bound = bind("127.0.0.1:0", &ClusterToken::new(token), &[]).unwrap();
            let address = bound.address().unwrap();
            let shutdown = Shutdown::new(Duration::from_secs(5));
            let mut running = JoinSet::new();
            running.spawn(bound.run(shutdown.clone()));
            assert_eq!(status(address, "/metrics", &address.to_string()).await, "200");
            assert_eq!(status(address, "/metrics", "localhost:1").await, "200");
            assert_eq!(status(address, "/metrics", "evil.example").await, elsewhere);
            let both = "localhost\r\nHost: evil.example";
            assert_eq!(status(address, "/metrics", both).await, elsewhere);
            assert_eq!(status(address, "/livez", "evil.example").await, "200", "health tells nothing");
            shutdown.request();
            running.join_next().await.unwrap().unwrap().unwrap();
        }
    }
}
