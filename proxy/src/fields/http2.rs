//! A prepared request as HTTP/2 wants it, and back (RFC 9113 §8.2.2, §8.3.1).

use http::header;
use http::uri::{Authority, Parts, PathAndQuery, Scheme, Uri};
use http::{HeaderValue, Request, Version};
use http_body::Body;
use hyper::upgrade::OnUpgrade;

use crate::connect::Target;

/// Moves the host into the target, and removes what HTTP/2 has no fields for; `TE: trailers` stays.
///
/// A change of protocol is not offered: the backend answers as if it had not been asked for.
pub(crate) fn for_http2<B>(mut request: Request<B>, target: &Target) -> Request<B> {
    let fields = request.headers_mut();
    for name in [header::CONNECTION, header::TRANSFER_ENCODING, header::UPGRADE] {
        fields.remove(name);
    }
    let host = fields.remove(header::HOST);
    let named = host.as_ref().and_then(|host| Authority::try_from(host.as_bytes()).ok());
    let authority = named.or_else(|| Authority::try_from(target.address.to_string()).ok());
    request.extensions_mut().remove::<OnUpgrade>();
    let mut parts = Parts::default();
    parts.scheme = Some(if target.tls.is_some() { Scheme::HTTPS } else { Scheme::HTTP });
    parts.authority = authority;
    parts.path_and_query =
        Some(request.uri().path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/")));
    if let Ok(uri) = Uri::from_parts(parts) {
        *request.uri_mut() = uri;
    }
    *request.version_mut() = Version::HTTP_2;
    request
}

/// Undoes [`for_http2`] for a request that was not sent, as far as other backends need it.
pub(crate) fn from_http2<B: Body>(mut request: Request<B>) -> Request<B> {
    if !request.body().is_end_stream() && request.body().size_hint().exact().is_none() {
        let chunked = HeaderValue::from_static("chunked");
        request.headers_mut().insert(header::TRANSFER_ENCODING, chunked);
    }
    if let Some(host) = request.uri().authority().and_then(|host| HeaderValue::try_from(host.as_str()).ok()) {
        request.headers_mut().insert(header::HOST, host);
    }
    if let Some(path) = request.uri().path_and_query().cloned() {
        *request.uri_mut() = Uri::from(path);
    }
    *request.version_mut() = Version::HTTP_11;
    request
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_becomes_the_authority_and_back() {
        let target = Target::plain("127.0.0.1:1".parse().unwrap());
        let request = Request::get("/a?b")
            .header("host", "a.example:80")
            .header("connection", "te")
            .header("te", "trailers")
            .header("transfer-encoding", "chunked")
            .header("upgrade", "websocket")
            .body(crate::Body::empty())
            .unwrap();
        let sent = for_http2(request, &target);
        assert_eq!(sent.uri(), "http://a.example:80/a?b");
        assert_eq!(sent.headers().len(), 1);
        assert_eq!(sent.headers()["te"], "trailers");
        let back = from_http2(sent);
        assert_eq!(back.uri(), "/a?b");
        assert_eq!(back.headers()["host"], "a.example:80");
    }

    #[test]
    fn a_request_without_a_host_names_the_backend() {
        let target = Target::plain("127.0.0.1:1".parse().unwrap());
        for request in [Request::get("/"), Request::get("/").header("host", "")] {
            assert_eq!(for_http2(request.body(()).unwrap(), &target).uri(), "http://127.0.0.1:1/");
        }
    }
}
