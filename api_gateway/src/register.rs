//! Joining load balancers by oneself: register, renew, and leave before the port closes.
//!
//! A gateway with `register` tells each balancer's admin address that it is there, for the length of a lease,
//! and renews the lease in thirds of it, so that two renewals may be lost. When it stops it leaves first and
//! serves until every balancer has said so, or a moment has passed: no request then meets a closed port.
//! One task a balancer does all of it in turn, so that no renewal can overtake the leaving.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use process::client::Answer;
use process::config::ConfigError;
use process::{CallError, ClusterToken, HttpClient, RoleError, Shutdown};
use rand::Rng;
use rand::rngs::SmallRng;
use serde_json::json;
use tokio::task::JoinSet;

use crate::config::Config;
use crate::shared::Shared;

/// How long a balancer may take to answer.
const DEADLINE: Duration = Duration::from_secs(2);

/// The first pause after a registration that failed; it doubles up to a third of the lease.
const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// How long a gateway that starts waits for the keys of tokens before it joins without them.
const KEYS_PATIENCE: Duration = Duration::from_secs(5);

/// How often it looks for them.
const KEYS_LOOK: Duration = Duration::from_millis(20);

/// A gateway's place with the balancers it joins.
#[derive(Debug)]
pub(crate) struct Registration {
    /// The gateway's own resource at each balancer.
    urls: Vec<String>,
    body: Bytes,
    lease: Duration,
    client: HttpClient,
    gateway: String,
}

/// Checks the settings of joining balancers.
pub(crate) fn validate(config: &Config) -> Result<(), ConfigError> {
    let fault =
        |key: &str, message: String| Err(ConfigError::inconsistent(format!("api_gateway.{key}"), message));
    for url in &config.register {
        let is_address = url.parse::<http::Uri>().is_ok_and(|uri| {
            uri.scheme_str() == Some("http") && uri.authority().is_some() && matches!(uri.path(), "/" | "")
        });
        if !is_address {
            return fault("register", format!("`{url}` is not http://host:port, a balancer's admin address"));
        }
    }
    if config.register_lease < Duration::from_secs(1) {
        return fault("register_lease", "below 1s a lost packet would end it".to_owned());
    }
    if !(config.register_weight > 0.0 && config.register_weight.is_finite()) {
        return fault("register_weight", "it must be more than 0".to_owned());
    }
    Ok(())
}

impl Registration {
    /// Puts together how a gateway joins; `None` when it joins nobody.
    pub(crate) fn new(
        config: &Config,
        gateway: &str,
        listening: SocketAddr,
        token: &ClusterToken,
    ) -> Result<Option<Arc<Self>>, RoleError> {
        if config.register.is_empty() {
            return Ok(None);
        }
        let address = advertised(config.advertise.as_deref(), listening)
            .ok_or_else(|| RoleError::start(gateway, UNREACHABLE))?;
        let urls = config
            .register
            .iter()
            .map(|balancer| format!("{}/v1/backends/{address}", balancer.trim_end_matches('/')));
        let lease = process::duration::format(config.register_lease);
        let body = json!({ "weight": config.register_weight, "lease": lease }).to_string();
        Ok(Some(Arc::new(Self {
            urls: urls.collect(),
            body: Bytes::from(body),
            lease: config.register_lease,
            client: HttpClient::new(token, DEADLINE),
            gateway: gateway.to_owned(),
        })))
    }

    /// Stays registered with every balancer until the shutdown, then leaves them; returns when it has left.
    pub(crate) async fn keep(self: Arc<Self>, shared: Arc<Shared>, shutdown: Shutdown) {
        tokio::select! {
            () = until_useful(&shared) => {}
            () = shutdown.requested() => return,
        }
        let mut balancers = JoinSet::new();
        for index in 0..self.urls.len() {
            let (own, shutdown) = (Arc::clone(&self), shutdown.clone());
            balancers.spawn(async move { own.keep_with(&own.urls[index], &shutdown).await });
        }
        while balancers.join_next().await.is_some() {}
    }

    async fn keep_with(&self, url: &str, shutdown: &Shutdown) {
        let mut rng: SmallRng = rand::SeedableRng::from_os_rng();
        let mut failures = 0_u32;
        let mut was_told = false;
        loop {
            // Not given up for the shutdown: a renewal that arrives after the leaving would undo it.
            let registered = judge(self.send(Method::PUT, url).await);
            match registered {
                Ok(()) if failures > 0 || !was_told => {
                    tracing::info!(gateway = self.gateway, url, "registered with a load balancer");
                    (failures, was_told) = (0, true);
                }
                Ok(()) => {}
                Err(reason) => {
                    if failures == 0 {
                        let gateway = self.gateway.as_str();
                        tracing::warn!(gateway, url, reason, "cannot register with a load balancer");
                    }
                    failures = failures.saturating_add(1);
                }
            }
            tokio::select! {
                () = tokio::time::sleep(pause(self.lease, failures, &mut rng)) => {}
                () = shutdown.requested() => break,
            }
        }
        if let Err(reason) = judge_leaving(self.send(Method::DELETE, url).await) {
            let gateway = self.gateway.as_str();
            tracing::warn!(gateway, url, reason, "could not leave a load balancer; the lease will run out");
        }
    }

    async fn send(&self, method: Method, url: &str) -> Result<Answer, CallError> {
        let body = if method == Method::PUT { self.body.clone() } else { Bytes::new() };
        let request = Request::builder().method(method).uri(url).header("content-type", "application/json");
        self.client.send(url, request, body, DEADLINE).await
    }
}

/// What is said when nobody could reach the gateway by the address it listens at.
const UNREACHABLE: &str =
    "it listens at every address and is to register; set api_gateway.advertise to the one others reach it at";

/// The address others reach the gateway at: the advertised one, with the port it listens at unless it names
/// another; without one, the address it listens at, if that is an address.
fn advertised(advertise: Option<&str>, listening: SocketAddr) -> Option<String> {
    match advertise {
        None => (!listening.ip().is_unspecified()).then(|| listening.to_string()),
        Some(text) => Some(match text.parse::<std::net::IpAddr>() {
            Ok(ip) => SocketAddr::new(ip, listening.port()).to_string(),
            Err(_) if text.rsplit_once(':').is_some() => text.to_owned(),
            Err(_) => format!("{text}:{}", listening.port()),
        }),
    }
}

/// Waits until tokens can be checked; before that, requests would be refused.
async fn until_useful(shared: &Shared) {
    let has_keys = async {
        while shared.keys.as_ref().is_some_and(|keys| keys.load().is_none()) {
            tokio::time::sleep(KEYS_LOOK).await;
        }
    };
    let _ = tokio::time::timeout(KEYS_PATIENCE, has_keys).await;
}

fn judge(answer: Result<Answer, CallError>) -> Result<(), String> {
    match answer {
        Ok(answer) if answer.status.is_success() => Ok(()),
        Ok(answer) => Err(format!("{}: {}", answer.status, detail(&answer))),
        Err(error) => Err(error.to_string()),
    }
}

/// A balancer that does not know the gateway has nothing to be told.
fn judge_leaving(answer: Result<Answer, CallError>) -> Result<(), String> {
    match answer {
        Ok(answer) if answer.status == StatusCode::NOT_FOUND => Ok(()),
        other => judge(other),
    }
}

/// What a problem document says, for a log line.
fn detail(answer: &Answer) -> String {
    let document: serde_json::Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let text = document["errors"][0]["detail"].as_str().or(document["detail"].as_str());
    text.or(document["title"].as_str()).unwrap_or_default().to_owned()
}

/// How long until the next renewal: a third of the lease, a tenth of it random so that gateways that started
/// together do not renew together; sooner after a failure, then ever less often.
fn pause(lease: Duration, failures: u32, rng: &mut impl Rng) -> Duration {
    let third = lease / 3;
    let pause = match failures {
        0 => third,
        // Beyond ten doublings it is a third of any lease that is allowed.
        _ => third.min(FIRST_PAUSE * (1 << (failures - 1).min(10))),
    };
    pause.mul_f64(rng.random_range(0.9..1.0))
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn a_gateway_says_where_it_can_be_reached() {
        let every = "0.0.0.0:5000".parse().unwrap();
        let own: SocketAddr = "10.0.0.1:5000".parse().unwrap();
        assert_eq!(advertised(None, every), None);
        assert_eq!(advertised(None, own).as_deref(), Some("10.0.0.1:5000"));
        assert_eq!(advertised(Some("10.0.0.9"), every).as_deref(), Some("10.0.0.9:5000"));
        assert_eq!(advertised(Some("::1"), every).as_deref(), Some("[::1]:5000"));
        assert_eq!(advertised(Some("pod-1.internal"), every).as_deref(), Some("pod-1.internal:5000"));
        assert_eq!(advertised(Some("pod-1.internal:80"), every).as_deref(), Some("pod-1.internal:80"));
    }

    #[test]
    fn two_renewals_may_be_lost_within_a_lease() {
        let (lease, mut rng) = (Duration::from_secs(10), SmallRng::seed_from_u64(1));
        for failures in 0..40 {
            let mut total = Duration::ZERO;
            for _ in 0..3 {
                total += pause(lease, failures, &mut rng);
            }
            assert!(total < lease, "{failures}: {total:?}");
        }
        assert!(pause(lease, 1, &mut rng) <= FIRST_PAUSE);
    }
}
