//! Which targets of a request are forwarded (RFC 9112 §3.2).

use http::{Method, Uri, Version};

/// Tells whether a backend would read a target as it was meant.
///
/// `http::Uri` also takes the authority form, which only `CONNECT` has, as in `GET host:80`; the asterisk of
/// `OPTIONS` with any method; and bytes beyond ASCII, which no target may have (RFC 3986 §2).
pub(super) fn is_forwardable(method: &Method, target: &Uri, version: Version) -> bool {
    let is_authority_form =
        version != Version::HTTP_2 && target.authority().is_some() && target.scheme().is_none();
    let path = target.path_and_query().map_or("", |path| path.as_str());
    let is_asterisk = path.starts_with('*');
    !is_authority_form && path.is_ascii() && (!is_asterisk || *method == Method::OPTIONS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_origin_and_absolute_form_and_the_asterisk_of_options_are_forwarded() {
        let check =
            |method, target: &str| is_forwardable(&method, &target.parse().unwrap(), Version::HTTP_11);
        for target in ["/", "/x?y", "http://a/x", "http://a"] {
            assert!(check(Method::GET, target), "{target}");
        }
        assert!(check(Method::OPTIONS, "*"));
        for target in ["*", "x", "a:80", "/\u{e9}", "/?\u{e9}"] {
            assert!(!check(Method::GET, target), "{target}");
        }
    }
}
