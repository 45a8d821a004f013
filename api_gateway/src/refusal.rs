//! A request the gateway answers itself, because it may not or cannot be forwarded.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response};
use process::Problem;

/// A problem and what its answer carries beyond it; boxed, because few requests are refused.
#[derive(Debug)]
pub(crate) struct Refusal(Box<(Problem, Option<(HeaderName, HeaderValue)>)>);

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self(Box::new((problem, None)))
    }
}

impl Refusal {
    /// Adds a field to the answer.
    pub(crate) fn with_field(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.1 = Some((name, value));
        self
    }

    /// Gives the kind's stable name.
    pub(crate) fn kind(&self) -> &'static str {
        self.0.0.kind().name
    }

    /// Writes the answer, naming the present trace.
    pub(crate) fn to_response(&self) -> Response<Bytes> {
        let mut response = self.0.0.to_response();
        if let Some((name, value)) = &self.0.1 {
            response.headers_mut().insert(name, value.clone());
        }
        response
    }
}
