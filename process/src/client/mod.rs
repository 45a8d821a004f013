//! Calls from one role to another: JSON over HTTP with a deadline, a bounded answer and the present trace.

mod pool;
#[cfg(test)]
mod tests;

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::Full;
use serde::Serialize;
use serde::de::DeserializeOwned;

use self::pool::{Failure, Pool};
use crate::{ClusterToken, Secret, token, trace};

/// Why a call to another role gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// Nobody was reached: the request was not sent, and repeating it is safe.
    #[error("{url}: cannot connect: {reason}")]
    Connect {
        /// What was called.
        url: String,
        /// Why.
        reason: String,
    },
    /// The connection broke after the request may have been acted on.
    #[error("{url}: {reason}")]
    Broken {
        /// What was called.
        url: String,
        /// Why.
        reason: String,
    },
    /// The deadline passed; the request may have been acted on.
    #[error("{url}: no answer within {within:?}")]
    Timeout {
        /// What was called.
        url: String,
        /// The deadline.
        within: Duration,
    },
    /// The answer is not what was agreed on.
    #[error("{url}: unreadable answer: {reason}")]
    Unreadable {
        /// What was called.
        url: String,
        /// Why.
        reason: String,
    },
}

impl CallError {
    /// Tells whether the request was certainly not acted on.
    pub fn is_safe_to_repeat(&self) -> bool {
        matches!(self, Self::Connect { .. })
    }
}

/// An answer with its whole body.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The header fields.
    pub fields: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Answer {
    /// Reads the body as JSON.
    pub fn json<T: DeserializeOwned>(&self, url: &str) -> Result<T, CallError> {
        serde_json::from_slice(&self.body)
            .map_err(|error| CallError::Unreadable { url: url.to_owned(), reason: error.to_string() })
    }
}

/// A pooled HTTP client for calls between roles; clones share the pool.
#[derive(Debug, Clone)]
pub struct HttpClient {
    pool: Pool,
    token: Option<Secret>,
    deadline: Duration,
    /// How much of an answer's body is read, in bytes; all of it must come if there is no number.
    enough: Option<usize>,
}

impl HttpClient {
    /// Makes a client that sends the cluster token, if there is one, and waits at most `deadline` for an answer.
    pub fn new(token: &ClusterToken, deadline: Duration) -> Self {
        Self::with_credential(token.secret().cloned(), deadline)
    }

    /// Makes a client that sends another credential than the cluster token, or none.
    pub fn with_credential(token: Option<Secret>, deadline: Duration) -> Self {
        Self { pool: Pool::default(), token, deadline, enough: None }
    }

    /// Reads no more of an answer's body than so many bytes, and takes what is longer for an answer all the same.
    pub fn with_enough(self, bytes: usize) -> Self {
        Self { enough: Some(bytes), ..self }
    }

    /// Sends a request with a JSON body and reads the whole answer, whatever its status.
    pub async fn send_json(
        &self,
        method: Method,
        url: &str,
        body: &impl Serialize,
    ) -> Result<Answer, CallError> {
        let body = serde_json::to_vec(body)
            .map_err(|error| CallError::Unreadable { url: url.to_owned(), reason: error.to_string() })?;
        let request =
            Request::builder().method(method).uri(url).header(header::CONTENT_TYPE, "application/json");
        self.send(url, request, Bytes::from(body), self.deadline).await
    }

    /// Sends a GET and reads the whole answer, whatever its status.
    pub async fn get(&self, url: &str) -> Result<Answer, CallError> {
        self.send(url, Request::builder().uri(url), Bytes::new(), self.deadline).await
    }

    /// Sends a request as built, adding token and trace, and reads the whole answer within `deadline`.
    ///
    /// Dropping the future abandons the call; the other side may still act on it.
    pub async fn send(
        &self,
        url: &str,
        request: http::request::Builder,
        body: Bytes,
        deadline: Duration,
    ) -> Result<Answer, CallError> {
        let unreadable = |reason: String| CallError::Unreadable { url: url.to_owned(), reason };
        let mut request = request.body(Full::new(body)).map_err(|error| unreadable(error.to_string()))?;
        let fields = request.headers_mut();
        if let Some(secret) = &self.token
            && let Ok(value) = secret.expose().parse()
        {
            fields.insert(token::TOKEN_FIELD, value);
        }
        if let Some(trace) = trace::current() {
            fields.insert(trace::TRACEPARENT, trace.header_value());
        }
        match tokio::time::timeout(deadline, self.pool.exchange(request, self.enough)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(Failure::Unsent(reason))) => Err(CallError::Connect { url: url.to_owned(), reason }),
            Ok(Err(Failure::Broken(reason))) => Err(CallError::Broken { url: url.to_owned(), reason }),
            Err(_) => Err(CallError::Timeout { url: url.to_owned(), within: deadline }),
        }
    }
}
