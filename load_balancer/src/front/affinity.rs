//! Which backend a request belongs to, where the policy goes by something the request bears.

use std::net::IpAddr;

use crate::dispatch::Asked;
use crate::selection::{Policy, Sticky, hash_key};

/// Gives what a request asks of the choice; `field` finds the first value of a field by its lower-case name.
pub(super) fn find<'r>(
    policy: &Policy,
    sticky: Option<&Sticky>,
    client: IpAddr,
    field: impl Fn(&str) -> Option<&'r [u8]>,
) -> Asked {
    let key = match policy {
        Policy::IpHash => Some(hash_address(client)),
        Policy::HeaderHash { header } => field(header).map(hash_key),
        Policy::CookieHash { cookie } => {
            field("cookie").and_then(|all| find_cookie(all, cookie)).map(hash_key)
        }
        _ => None,
    };
    let sticky = match (policy, sticky) {
        (Policy::StickyCookie { cookie }, Some(cookies)) => {
            let value = field("cookie").and_then(|all| find_cookie(all, cookie));
            value.and_then(|value| cookies.verify(std::str::from_utf8(value).ok()?))
        }
        _ => None,
    };
    Asked { key, sticky }
}

/// Writes the cookie that leads a client back to a backend (RFC 6265 §4.1); scripts need not see it.
pub(super) fn write_cookie(name: &str, value: &str, is_secure: bool, out: &mut Vec<u8>) {
    out.extend_from_slice(name.as_bytes());
    out.push(b'=');
    out.extend_from_slice(value.as_bytes());
    out.extend_from_slice(b"; Path=/; HttpOnly; SameSite=Lax");
    if is_secure {
        out.extend_from_slice(b"; Secure");
    }
}

fn hash_address(address: IpAddr) -> u64 {
    match address {
        IpAddr::V4(address) => hash_key(&address.octets()),
        IpAddr::V6(address) => hash_key(&address.octets()),
    }
}

/// Finds a cookie in a `Cookie` field (RFC 6265 §4.2.1).
pub(super) fn find_cookie<'r>(field: &'r [u8], name: &str) -> Option<&'r [u8]> {
    field.split(|byte| *byte == b';').find_map(|pair| {
        let pair = pair.trim_ascii();
        let at = pair.iter().position(|byte| *byte == b'=')?;
        (&pair[..at] == name.as_bytes()).then(|| &pair[at + 1..])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_found_by_its_whole_name() {
        let field = b"xsession=1; session=abc=; other=2";
        assert_eq!(find_cookie(field, "session"), Some(&b"abc="[..]));
        assert_eq!(find_cookie(field, "sess"), None);
        assert_eq!(find_cookie(b"", "session"), None);
    }

    #[test]
    fn the_same_client_asks_for_the_same_backend() {
        let none = |_: &str| None;
        let key = |policy: &Policy, ip: &str| find(policy, None, ip.parse().unwrap(), none).key;
        assert_eq!(key(&Policy::IpHash, "192.0.2.1"), key(&Policy::IpHash, "192.0.2.1"));
        assert_ne!(key(&Policy::IpHash, "192.0.2.1"), key(&Policy::IpHash, "192.0.2.2"));
        assert_eq!(key(&Policy::Latency, "192.0.2.1"), None);
        let by_header = Policy::HeaderHash { header: "x-user".to_owned() };
        assert_eq!(key(&by_header, "192.0.2.1"), None, "a request without the field goes anywhere");
        let user = |name: &str| (name == "x-user").then_some(&b"u1"[..]);
        let asked = find(&by_header, None, "192.0.2.1".parse().unwrap(), user);
        assert_eq!(asked.key, Some(hash_key(b"u1")));
    }
}
