//! A backend's response becomes one the client may see.

use http::header::{self, HeaderMap, HeaderValue};
use http::{Response, StatusCode, Version};

use super::hop_by_hop;
use super::present::Present;

/// Removes from a backend's response what ends here; tells whether it can be forwarded at all.
///
/// A response in a transfer coding other than `chunked` cannot: its coding would be lost.
pub fn prepare_response<B>(response: &mut Response<B>) -> bool {
    let is_upgrade = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    let fields = response.headers_mut();
    let present = Present::of(fields);
    if present.any(Present::TRANSFER_ENCODING) {
        if !has_plain_framing(fields) {
            return false;
        }
        fields.remove(header::TRANSFER_ENCODING);
    }
    let removed = hop_by_hop::remove(fields, present);
    if removed.upgrade {
        if is_upgrade {
            fields.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        } else {
            fields.remove(header::UPGRADE);
        }
    }
    *response.version_mut() = Version::HTTP_11;
    true
}

fn has_plain_framing(fields: &HeaderMap) -> bool {
    let mut codings = fields.get_all(header::TRANSFER_ENCODING).iter();
    match codings.next() {
        None => true,
        Some(coding) => {
            codings.next().is_none() && coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_coding_that_would_be_lost_is_not_forwarded() {
        let mut response = Response::new(());
        response.headers_mut().insert(header::TRANSFER_ENCODING, HeaderValue::from_static("gzip, chunked"));
        assert!(!prepare_response(&mut response));
    }

    #[test]
    fn the_backend_s_connection_is_its_own() {
        let mut response = Response::new(());
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close, x-inner"));
        response.headers_mut().insert("x-inner", HeaderValue::from_static("1"));
        response.headers_mut().insert("server", HeaderValue::from_static("s"));
        *response.version_mut() = Version::HTTP_10;
        assert!(prepare_response(&mut response));
        assert_eq!(response.headers().len(), 1);
        assert_eq!(response.version(), Version::HTTP_11);
    }
}
