//! Messages that may be sent twice, and the copy kept for it.

use std::cell::RefCell;

use http::{HeaderName, HeaderValue, Method, Request, Uri, header};
use proxy::Body;

/// Tells whether repeating a request of this method is harmless (RFC 9110 §9.2.2).
pub(crate) fn is_idempotent(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET | Method::HEAD | Method::PUT | Method::DELETE | Method::OPTIONS | Method::TRACE
    )
}

/// Fields of a request, in their order.
pub(crate) type Fields = Vec<(HeaderName, HeaderValue)>;

/// What is needed to send a request again.
///
/// A list and not a header map: filling a list that is used again costs no allocation.
#[derive(Debug)]
pub(crate) struct Copy {
    method: Method,
    uri: Uri,
    fields: Fields,
    body: Body,
}

impl Copy {
    /// Copies a request, if it may be sent twice and its body can be; takes the list to fill from `spare`.
    pub(crate) fn of(request: &Request<Body>, spare: &RefCell<Fields>) -> Option<Self> {
        if !is_idempotent(request.method()) || request.headers().contains_key(header::UPGRADE) {
            return None;
        }
        let body = request.body().replay()?;
        let mut fields = spare.take();
        fields.extend(request.headers().iter().map(|(name, value)| (name.clone(), value.clone())));
        Some(Self { method: request.method().clone(), uri: request.uri().clone(), fields, body })
    }

    /// Makes the request again.
    pub(crate) fn request(&self) -> Option<Request<Body>> {
        let mut request = Request::new(self.body.replay()?);
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        for (name, value) in &self.fields {
            request.headers_mut().append(name, value.clone());
        }
        Some(request)
    }

    /// Gives the list back, empty, for the next copy.
    pub(crate) fn into_list(mut self) -> Fields {
        self.fields.clear();
        self.fields
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn a_copy_is_the_same_request() {
        let request = Request::put("/path?q").header("a", "1").header("a", "2");
        let request = request.body(Body::from(Bytes::from("body"))).unwrap();
        let copy = Copy::of(&request, &RefCell::default()).unwrap().request().unwrap();
        assert_eq!((copy.method(), copy.uri()), (request.method(), request.uri()));
        assert_eq!(copy.headers(), request.headers());
    }

    #[test]
    fn a_request_that_must_not_be_sent_twice_is_not_copied() {
        let copy = |request: http::request::Builder| {
            Copy::of(&request.body(Body::empty()).unwrap(), &RefCell::default()).is_some()
        };
        assert!(copy(Request::get("/")));
        assert!(!copy(Request::post("/")));
        assert!(!copy(Request::patch("/")));
        assert!(!copy(Request::builder().method("QUERY")));
        assert!(!copy(Request::get("/").header("upgrade", "websocket")));
    }
}
