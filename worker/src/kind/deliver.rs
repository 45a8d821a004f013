//! `http`: delivers a request to a configured service, and again until it is taken.
//!
//! Only a service of `[services]` is reached, at the path the job names: never an address of the job's own
//! choosing. A job of a user carries that user's identity to services of the house, so it may do what the
//! user may do and no more.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use database::limits::{NESTING_LIMIT, is_within};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, header};
use process::client::Answer;
use process::problem::Fault;
use process::services::Service;
use process::{ClusterToken, HttpClient, Identity, Services, identity};
use rand::Rng;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::payload::{describe, fault_at};
use super::verdict::judge_status;
use super::{Attempt, Failure, Kind, Running, read_payload};

/// How long one attempt may take, over all instances it tries.
const DEADLINE: Duration = Duration::from_secs(60);

/// How long one instance may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// How much of the answer's body the job's result keeps, in bytes.
const KEPT_BODY: usize = 64 << 10;

/// The field by which the service can tell a repeat: the job's ID (draft-ietf-httpapi-idempotency-key-header).
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The request to deliver.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Payload {
    service: String,
    #[serde(default = "default_method")]
    method: String,
    path: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    headers: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    body: Option<Value>,
    /// The user the job is from; written by the queue API, never taken from a user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    caller: Option<Caller>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Caller {
    subject: String,
    roles: Vec<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    claims: BTreeMap<String, Value>,
}

/// The parts of a request once they are known to be valid.
#[derive(Debug)]
struct Delivery {
    instances: Vec<String>,
    internal: bool,
    method: Method,
    path: PathAndQuery,
    fields: HeaderMap,
    body: Bytes,
}

/// Delivers requests to services.
#[derive(Debug)]
pub(super) struct Deliver {
    services: Services,
    house: HttpClient,
    outside: HttpClient,
}

fn default_method() -> String {
    "POST".to_owned()
}

impl Deliver {
    /// Makes the kind; services of the house are sent the cluster token, others are not.
    pub(super) fn new(services: Services, token: &ClusterToken) -> Self {
        Self {
            services,
            house: HttpClient::new(token, ANSWER_TIMEOUT).with_enough(KEPT_BODY + 1),
            outside: HttpClient::with_credential(None, ANSWER_TIMEOUT).with_enough(KEPT_BODY + 1),
        }
    }

    fn prepare(&self, payload: &Payload) -> Result<Delivery, Vec<Fault>> {
        let service = self
            .services
            .find(&payload.service)
            .filter(|service| !service.instances.is_empty())
            .ok_or_else(|| fault_at("/service", "no such service is configured"))?;
        let method = Method::from_bytes(payload.method.as_bytes())
            .ok()
            .filter(|method| *method != Method::CONNECT)
            .ok_or_else(|| fault_at("/method", "this is not a method that can be delivered"))?;
        let path = PathAndQuery::try_from(payload.path.as_str())
            .ok()
            .filter(|_| payload.path.starts_with('/'))
            .ok_or_else(|| fault_at("/path", "a path starts with `/` and is percent-encoded"))?;
        Ok(Delivery {
            instances: service.instances.iter().map(|instance| instance.address.clone()).collect(),
            internal: service.internal,
            method,
            path,
            fields: read_fields(payload, service)?,
            body: write_body(payload.body.as_ref()),
        })
    }

    async fn deliver(&self, attempt: Attempt) -> Result<Value, Failure> {
        let unusable = |faults: Vec<Fault>| Failure::never(describe(&faults));
        let payload: Payload = read_payload(attempt.job.payload).map_err(unusable)?;
        let mut delivery = self.prepare(&payload).map_err(unusable)?;
        if let Ok(key) = HeaderValue::try_from(&attempt.job.id) {
            delivery.fields.insert(IDEMPOTENCY_KEY, key);
        }
        let answer = self.send(&payload.service, &delivery).await?;
        let retry_after = answer.fields.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
        judge_status(answer.status, retry_after, SystemTime::now()).map_err(|retry| Failure {
            reason: format!("{} answered {}", payload.service, answer.status.as_u16()),
            retry,
        })?;
        Ok(keep_answer(&answer))
    }

    /// Sends to one instance after another, from a random one, until one can be connected to.
    async fn send(&self, service: &str, delivery: &Delivery) -> Result<Answer, Failure> {
        let client = if delivery.internal { &self.house } else { &self.outside };
        let first = rand::rng().random_range(0..delivery.instances.len());
        let (before, from) = delivery.instances.split_at(first);
        for instance in from.iter().chain(before) {
            let url = format!("http://{instance}{}", delivery.path);
            let mut request = Request::builder().method(delivery.method.clone()).uri(&url);
            if let Some(fields) = request.headers_mut() {
                fields.clone_from(&delivery.fields);
            }
            match client.send(&url, request, delivery.body.clone(), ANSWER_TIMEOUT).await {
                Ok(answer) => return Ok(answer),
                Err(error) if error.is_safe_to_repeat() => tracing::debug!(%error, "an instance is away"),
                Err(error) => {
                    tracing::debug!(%error, "a delivery got no answer");
                    return Err(Failure::passing(format!("{service} did not answer")));
                }
            }
        }
        Err(Failure::passing(format!("{service} cannot be reached")))
    }
}

impl Kind for Deliver {
    fn name(&self) -> &'static str {
        "http"
    }

    fn deadline(&self) -> Option<Duration> {
        Some(DEADLINE)
    }

    fn accept(&self, payload: Value, caller: Option<&Identity>) -> Result<Value, Vec<Fault>> {
        let mut payload: Payload = read_payload(payload)?;
        if payload.caller.is_some() {
            return Err(fault_at("/caller", "the caller is set by the house"));
        }
        payload.caller = caller.map(|caller| Caller {
            subject: caller.subject.clone(),
            roles: caller.roles.clone(),
            claims: caller.claims.clone(),
        });
        self.prepare(&payload)?;
        serde_json::to_value(payload).map_err(|error| fault_at("", error.to_string()))
    }

    fn run(&self, attempt: Attempt) -> Running<'_> {
        Box::pin(self.deliver(attempt))
    }
}

/// Reads the job's header fields, but for those that belong to the connection or to the house.
fn read_fields(payload: &Payload, service: &Service) -> Result<HeaderMap, Vec<Fault>> {
    let mut fields = HeaderMap::new();
    if payload.body.is_some() {
        fields.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    for (name, value) in &payload.headers {
        let pointer = format!("/headers/{}", name.replace('~', "~0").replace('/', "~1"));
        let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) else {
            return Err(fault_at(&pointer, "this is not a header field"));
        };
        if is_reserved(&name) {
            return Err(fault_at(&pointer, "this field is set by the worker"));
        }
        fields.insert(name, value);
    }
    identity::strip(&mut fields);
    if service.internal
        && let Some(Caller { subject, roles, claims }) = payload.caller.clone()
    {
        Identity { subject, roles, claims }.write(&mut fields);
    }
    Ok(fields)
}

/// Tells whether a field is not the job's to set: framing, hop-by-hop (RFC 9110 §7.6.1), or the house's own.
fn is_reserved(name: &HeaderName) -> bool {
    const RESERVED: [&str; 12] = [
        "connection",
        "content-length",
        "expect",
        "host",
        "idempotency-key",
        "keep-alive",
        "proxy-connection",
        "te",
        "traceparent",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ];
    RESERVED.contains(&name.as_str()) || name.as_str().starts_with("sixfold-")
}

/// Writes a text body as it is and any other JSON as JSON.
fn write_body(body: Option<&Value>) -> Bytes {
    match body {
        None => Bytes::new(),
        Some(Value::String(text)) => Bytes::from(text.clone()),
        Some(json) => Bytes::from(json.to_string()),
    }
}

/// Keeps of an answer what fits into the job: JSON as JSON, anything else and what is nested deeper as text, cut at [`KEPT_BODY`].
fn keep_answer(answer: &Answer) -> Value {
    let status = answer.status.as_u16();
    if answer.body.len() > KEPT_BODY {
        let text = String::from_utf8_lossy(&answer.body[..KEPT_BODY]);
        return json!({"status": status, "body": text, "truncated": true});
    }
    // Within the result it is one level deeper.
    let body = serde_json::from_slice(&answer.body)
        .ok()
        .filter(|body| is_within(body, NESTING_LIMIT - 1))
        .unwrap_or_else(|| Value::String(String::from_utf8_lossy(&answer.body).into_owned()));
    json!({"status": status, "body": body})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accept(payload: Value) -> Result<Value, String> {
        let services: Services =
            serde_json::from_value(json!({"shop": {"instances": ["127.0.0.1:1"], "internal": true}}))
                .unwrap();
        let ada = Identity { subject: "ada".into(), roles: vec!["user".into()], claims: BTreeMap::new() };
        Deliver::new(services, &ClusterToken::default())
            .accept(payload, Some(&ada))
            .map_err(|faults| faults[0].pointer.clone())
    }

    #[test]
    fn only_a_configured_service_is_reached_and_only_at_a_path() {
        assert!(accept(json!({"service": "shop", "path": "/orders?x=1"})).is_ok());
        assert_eq!(accept(json!({"service": "10.0.0.1", "path": "/"})), Err("/service".into()));
        for path in ["", "orders", "@evil.example/", "//evil example/", "http://evil.example/"] {
            assert_eq!(accept(json!({"service": "shop", "path": path})), Err("/path".into()), "{path}");
        }
        assert_eq!(
            accept(json!({"service": "shop", "path": "/", "method": "CONNECT"})),
            Err("/method".into())
        );
    }

    #[test]
    fn a_job_cannot_bring_fields_or_an_identity_of_the_house() {
        for name in ["Host", "Transfer-Encoding", "Sixfold-Token", "sixfold-subject", "Idempotency-Key"] {
            let payload = json!({"service": "shop", "path": "/", "headers": {name: "x"}});
            assert_eq!(accept(payload), Err(format!("/headers/{name}")));
        }
        let forged =
            json!({"service": "shop", "path": "/", "caller": {"subject": "root", "roles": ["admin"]}});
        assert_eq!(accept(forged), Err("/caller".into()));
        let stored = accept(json!({"service": "shop", "path": "/"})).unwrap();
        assert_eq!(stored["caller"], json!({"subject": "ada", "roles": ["user"]}));
    }

    #[test]
    fn what_is_nested_deeper_than_a_result_may_be_is_kept_as_text() {
        for (levels, is_json) in [(NESTING_LIMIT - 1, true), (NESTING_LIMIT, false)] {
            let body = "[".repeat(levels) + &"]".repeat(levels);
            let answer =
                Answer { status: http::StatusCode::OK, fields: HeaderMap::new(), body: Bytes::from(body) };
            let kept = keep_answer(&answer);
            assert_eq!(kept["body"].is_array(), is_json, "{levels}");
            assert!(is_within(&kept, NESTING_LIMIT), "{levels}");
        }
    }

    #[test]
    fn a_long_answer_is_cut() {
        let answer = Answer {
            status: http::StatusCode::OK,
            fields: HeaderMap::new(),
            body: Bytes::from(vec![b'x'; KEPT_BODY + 1]),
        };
        let kept = keep_answer(&answer);
        assert_eq!(kept["truncated"], true);
        assert_eq!(kept["body"].as_str().unwrap().len(), KEPT_BODY);
    }
}
