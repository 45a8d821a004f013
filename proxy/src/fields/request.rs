//! A client's request becomes one a backend may see.

use http::header::{self, Entry, HeaderMap, HeaderValue};
use http::uri::{PathAndQuery, Uri};
use http::{Method, Request, Version};
use http_body::Body as _;
use hyper::body::Incoming;
use process::Problem;
use process::problem::kinds;

use super::MOST_FIELDS;
use super::forwarded::{self, TrustedProxies};
use super::hop_by_hop;
use super::present::Present;
use super::target;
use crate::host::is_host;
use crate::imitation::imitates;
use crate::{Body, Client, via};

/// Why a request is not forwarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// HTTP/1.1 demands exactly one valid `Host` (RFC 9112 §3.2).
    #[error("the request must have exactly one Host field, which names a host")]
    Host,
    /// A target of a form that a backend could read in another way (RFC 9112 §3.2).
    #[error("the request's target is malformed")]
    Target,
    /// Where the body ends is not beyond doubt (RFC 9112 §6.3).
    #[error("the length of the request's body is ambiguous")]
    Framing,
    /// A transfer coding other than `chunked` (RFC 9112 §6.1).
    #[error("only the transfer coding chunked is supported")]
    TransferCoding,
    /// More fields than [`MOST_FIELDS`]; a few bytes each on the wire, they cost more in every map behind.
    #[error("the request has too many header fields")]
    TooManyFields,
    /// The method `CONNECT`, for which this is not a proxy.
    #[error("this server does not open tunnels")]
    Connect,
    /// It has passed so many hops of ours that it goes round in circles (RFC 9110 §7.6.3).
    #[error("the request has come round too often")]
    Loop,
}

impl Refusal {
    /// Gives the problem it is answered with.
    pub fn problem(self) -> Problem {
        let kind = match self {
            Self::Host | Self::Target | Self::Framing => kinds::MALFORMED_REQUEST,
            Self::TooManyFields => kinds::HEADERS_TOO_LARGE,
            Self::Loop => kinds::LOOP_DETECTED,
            Self::TransferCoding | Self::Connect => kinds::NOT_IMPLEMENTED,
        };
        Problem::new(kind).detail(self.to_string())
    }
}

/// Prepares a client's request for a backend: removes what ends here, writes who asked, normalises the
/// target, the version and the framing.
pub fn prepare_request(
    request: Request<Incoming>,
    client: &Client,
    trusted: &TrustedProxies,
) -> Result<Request<Body>, Refusal> {
    let (mut head, body) = request.into_parts();
    if head.method == Method::CONNECT {
        return Err(Refusal::Connect);
    }
    if !target::is_forwardable(&head.method, &head.uri, head.version) {
        return Err(Refusal::Target);
    }
    let body_size = if body.is_end_stream() { Some(0) } else { body.size_hint().exact() };
    let version = head.version;
    set_target(&mut head.uri, &mut head.headers, version)?;
    let fields = &mut head.headers;
    let present = Present::of(fields);
    if present.any(Present::FRAMING) {
        check_framing(fields)?;
    }
    if present.any(Present::VIA) {
        let passed: usize = fields.get_all(header::VIA).iter().map(|via| via::count(via.as_bytes())).sum();
        if passed >= via::MOST {
            return Err(Refusal::Loop);
        }
    }
    let removed = hop_by_hop::remove(fields, present);
    if present.any(Present::TRANSFER_ENCODING) {
        fields.remove(header::TRANSFER_ENCODING);
    }
    if present.any(Present::IMITATION) {
        remove_imitations(fields);
    }
    if present.any(Present::EXPECT) {
        // The body is asked for as soon as a backend is connected, and that is when this side answers 100.
        fields.remove(header::EXPECT);
    }
    if version == Version::HTTP_2 {
        // First, because browsers split cookies into as many fields as there are.
        join_cookies(fields);
    }
    let upgrades = removed.upgrade && version == Version::HTTP_11;
    if upgrades {
        fields.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    } else if removed.upgrade {
        // HTTP/2 has none, and that of HTTP/1.0 must be ignored (RFC 9110 §7.8).
        fields.remove(header::UPGRADE);
    }
    if fields.len() > MOST_FIELDS {
        return Err(Refusal::TooManyFields);
    }
    if removed.trailers {
        fields.insert(header::TE, HeaderValue::from_static("trailers"));
        if !upgrades {
            fields.insert(header::CONNECTION, HeaderValue::from_static("te"));
        }
    }
    if body_size.is_none() {
        // Said outright, because without it hyper sends no body with a GET.
        fields.remove(header::CONTENT_LENGTH);
        fields.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    forwarded::write(fields, present, client, trusted, version);
    head.version = Version::HTTP_11;
    Ok(Request::from_parts(head, Body::from(body)))
}

/// Brings the target into origin form, with its authority in `Host` (RFC 9112 §3.2.2, RFC 9113 §8.3.1).
fn set_target(uri: &mut Uri, fields: &mut HeaderMap, version: Version) -> Result<(), Refusal> {
    match version {
        Version::HTTP_2 => check_authority(uri, fields)?,
        _ => check_host(fields, version)?,
    }
    if let Some(authority) = uri.authority() {
        let host = authority.as_str().rsplit('@').next().unwrap_or_default();
        let host = HeaderValue::try_from(host).map_err(|_| Refusal::Host)?;
        fields.insert(header::HOST, host);
        let path = uri.path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/"));
        *uri = Uri::from(path);
        return Ok(());
    }
    if uri.path().is_empty() {
        *uri = Uri::from_static("/");
    }
    Ok(())
}

/// Refuses a message of HTTP/2 without one host, and one whose `:authority` and `Host` disagree (RFC 9113
/// §8.3.1): whoever checked one of them may not have meant the other.
fn check_authority(uri: &Uri, fields: &HeaderMap) -> Result<(), Refusal> {
    let mut hosts = fields.get_all(header::HOST).iter();
    let is_right = match (uri.authority(), hosts.next()) {
        (Some(authority), None) => is_host(authority.as_str().as_bytes()),
        (Some(authority), Some(host)) => {
            let authority = authority.as_str().as_bytes();
            is_host(authority) && authority.eq_ignore_ascii_case(host.as_bytes())
        }
        (None, Some(host)) => is_host(host.as_bytes()),
        (None, None) => false,
    };
    if is_right && hosts.next().is_none() { Ok(()) } else { Err(Refusal::Host) }
}

/// Refuses a message of HTTP/1 without exactly one host that is one.
fn check_host(fields: &HeaderMap, version: Version) -> Result<(), Refusal> {
    let mut hosts = fields.get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) if is_host(host.as_bytes()) => Ok(()),
        (None, _) if version != Version::HTTP_11 => Ok(()),
        _ => Err(Refusal::Host),
    }
}

/// Refuses a message whose end two parsers could see in two places.
///
/// hyper has parsed the same fields already; this does not rely on it.
fn check_framing(fields: &HeaderMap) -> Result<(), Refusal> {
    let mut codings = fields.get_all(header::TRANSFER_ENCODING).iter();
    if let Some(coding) = codings.next() {
        if fields.contains_key(header::CONTENT_LENGTH) {
            return Err(Refusal::Framing);
        }
        if codings.next().is_some() || !coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked") {
            return Err(Refusal::TransferCoding);
        }
    }
    let mut lengths = fields.get_all(header::CONTENT_LENGTH).iter();
    if let Some(length) = lengths.next() {
        let is_number = !length.is_empty() && length.as_bytes().iter().all(u8::is_ascii_digit);
        if !is_number || lengths.next().is_some() {
            return Err(Refusal::Framing);
        }
    }
    Ok(())
}

/// Removes the fields that a backend may take for ones of ours.
fn remove_imitations(fields: &mut HeaderMap) {
    let imitations = fields.keys().filter(|name| imitates(name.as_str().as_bytes()));
    for name in imitations.cloned().collect::<Vec<_>>() {
        fields.remove(name);
    }
}

/// Joins the cookies HTTP/2 may split (RFC 9113 §8.2.3).
fn join_cookies(fields: &mut HeaderMap) {
    let Entry::Occupied(mut cookies) = fields.entry(header::COOKIE) else { return };
    if cookies.iter().nth(1).is_none() {
        return;
    }
    let mut joined = Vec::new();
    for cookie in cookies.iter() {
        if !joined.is_empty() {
            joined.extend_from_slice(b"; ");
        }
        joined.extend_from_slice(cookie.as_bytes());
    }
    if let Ok(joined) = HeaderValue::try_from(joined) {
        cookies.insert(joined);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut fields = HeaderMap::new();
        for (name, value) in pairs {
            fields.append(*name, value.parse().unwrap());
        }
        fields
    }

    #[test]
    fn ambiguous_framing_is_refused() {
        let check = |pairs| check_framing(&fields(pairs));
        assert_eq!(check(&[]), Ok(()));
        assert_eq!(check(&[("content-length", "5")]), Ok(()));
        assert_eq!(check(&[("transfer-encoding", "Chunked ")]), Ok(()));
        let both = [("transfer-encoding", "chunked"), ("content-length", "5")];
        assert_eq!(check(&both), Err(Refusal::Framing));
        assert_eq!(check(&[("content-length", "5"), ("content-length", "5")]), Err(Refusal::Framing));
        for length in ["+5", "5, 5", "-1", "0x5", ""] {
            assert_eq!(
                check_framing(&fields(&[("content-length", length)])),
                Err(Refusal::Framing),
                "{length}"
            );
        }
        for coding in ["gzip, chunked", "chunked, chunked", "identity", "xchunked"] {
            let refused = check_framing(&fields(&[("transfer-encoding", coding)]));
            assert_eq!(refused, Err(Refusal::TransferCoding), "{coding}");
        }
    }

    #[test]
    fn an_absolute_target_decides_the_host() {
        let mut uri = Uri::from_static("http://user@right.example:8080/path?q");
        let mut message = fields(&[("host", "wrong.example")]);
        set_target(&mut uri, &mut message, Version::HTTP_11).unwrap();
        assert_eq!(uri, "/path?q");
        assert_eq!(message["host"], "right.example:8080");
    }

    #[test]
    fn one_host_is_needed_and_no_more() {
        let check = |pairs, version| set_target(&mut Uri::from_static("/"), &mut fields(pairs), version);
        assert_eq!(check(&[], Version::HTTP_11), Err(Refusal::Host));
        assert_eq!(check(&[], Version::HTTP_10), Ok(()));
        assert_eq!(check(&[("host", "a"), ("host", "b")], Version::HTTP_11), Err(Refusal::Host));
    }

    #[test]
    fn what_imitates_a_field_of_ours_ends_here() {
        let mut message = fields(&[("x_forwarded_for", "6.6.6.6"), ("sixfold_roles", "a"), ("user_id", "7")]);
        assert!(Present::of(&message).any(Present::IMITATION));
        remove_imitations(&mut message);
        assert_eq!(message, fields(&[("user_id", "7")]));
        assert!(!Present::of(&message).any(Present::IMITATION));
    }

    #[test]
    fn split_cookies_are_joined() {
        let mut message = fields(&[("cookie", "a=1"), ("cookie", "b=2; c=3")]);
        join_cookies(&mut message);
        assert_eq!(message, fields(&[("cookie", "a=1; b=2; c=3")]));
    }
}
