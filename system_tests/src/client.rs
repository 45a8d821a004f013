//! A small HTTP client for tests: any method, any field, the whole answer, no hidden retry.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use process::client::Answer;
use process::{CallError, HttpClient};
use serde_json::Value;

/// How long one request may take before the test fails.
const DEADLINE: Duration = Duration::from_secs(30);

/// A client with an optional bearer token.
#[derive(Debug, Clone)]
pub struct Client {
    http: HttpClient,
    base: String,
    token: Option<String>,
}

/// An answer as tests look at it.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The status.
    pub status: StatusCode,
    /// The header fields.
    pub fields: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Reply {
    /// Reads the body as JSON; a body that is none fails the test and is shown.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error} in {:?}", String::from_utf8_lossy(&self.body)))
    }

    /// Gives a header field, or the empty text.
    pub fn field(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", |value| value.to_str().expect("a field of visible characters"))
    }

    /// Gives the end of the problem's `type`.
    pub fn problem(&self) -> String {
        assert_eq!(self.field("content-type"), "application/problem+json", "{self:?}");
        let document = self.json();
        let kind = document["type"].as_str().expect("a problem has a type");
        kind.strip_prefix("urn:sixfold:problem:").expect("one of our types").to_owned()
    }
}

impl Client {
    /// Makes a client of the server at a base such as `http://127.0.0.1:8000`.
    pub fn new(base: impl Into<String>) -> Self {
        Self { http: HttpClient::with_credential(None, DEADLINE), base: base.into(), token: None }
    }

    /// Makes a client that sends a bearer token.
    pub fn with_token(&self, token: impl Into<String>) -> Self {
        Self { token: Some(token.into()), ..self.clone() }
    }

    /// Sends a request; an exchange that fails below HTTP is an error.
    pub async fn try_send(
        &self,
        method: &str,
        path: &str,
        fields: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Result<Reply, CallError> {
        let url = format!("{}{path}", self.base);
        let mut request =
            Request::builder().method(Method::from_bytes(method.as_bytes()).expect("a method")).uri(&url);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let Answer { status, fields, body } = self.http.send(&url, request, body.into(), DEADLINE).await?;
        Ok(Reply { status, fields, body })
    }

    /// Sends a request; an exchange that fails below HTTP fails the test.
    pub async fn send(
        &self,
        method: &str,
        path: &str,
        fields: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Reply {
        self.try_send(method, path, fields, body)
            .await
            .unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    /// Sends a GET.
    pub async fn get(&self, path: &str) -> Reply {
        self.send("GET", path, &[], Bytes::new()).await
    }

    /// Sends a POST with a JSON body.
    pub async fn post(&self, path: &str, body: &Value) -> Reply {
        self.send("POST", path, &[("content-type", "application/json")], body.to_string()).await
    }
}
