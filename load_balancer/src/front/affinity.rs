//! Which backend a request belongs to, where the policy goes by something the request bears.

use std::net::IpAddr;

use crate::dispatch::Asked;
use crate::selection::{Policy, Sticky, hash_key};

/// How many cookies of one name are looked at; browsers send one for each path and domain that set it, and each is
/// held against all backends.
const COOKIES_READ: usize = 8;

/// Gives what a request asks of the choice; `address` finds who asked, `fields` the values of a field by its
/// lower-case name.
pub(super) fn find<'r, F: Iterator<Item = &'r [u8]>>(
    policy: &'r Policy,
    sticky: Option<&Sticky>,
    address: impl FnOnce() -> IpAddr,
    fields: impl Fn(&'r str) -> F,
) -> Asked {
    // HTTP/1.1 clients send one line of cookies, and are not held to it.
    let cookies = |name: &'r str| fields("cookie").flat_map(move |line| find_cookies(line, name));
    let key = match policy {
        Policy::IpHash => Some(hash_address(address())),
        Policy::HeaderHash { header } => fields(header).next().map(hash_key),
        Policy::CookieHash { cookie } => cookies(cookie).next().map(hash_key),
        _ => None,
    };
    let sticky = match (policy, sticky) {
        (Policy::StickyCookie { cookie }, Some(known)) => {
            // One for a longer path stands first (RFC 6265 §5.4), and may be of somebody else.
            let mut values = cookies(cookie).take(COOKIES_READ);
            values.find_map(|value| known.verify(std::str::from_utf8(value).ok()?))
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

/// Finds the cookies of a name in a `Cookie` field (RFC 6265 §4.2.1), in their order.
fn find_cookies<'r>(field: &'r [u8], name: &'r str) -> impl Iterator<Item = &'r [u8]> {
    field.split(|byte| *byte == b';').filter_map(move |pair| {
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
        let find = |field, name| find_cookies(field, name).collect::<Vec<&[u8]>>();
        let field = b"xsession=1; session=abc=; other=2; session=d";
        assert_eq!(find(field, "session"), [&b"abc="[..], b"d"]);
        assert!(find(field, "sess").is_empty());
        assert!(find(b"", "session").is_empty());
    }

    #[test]
    fn of_several_sticky_cookies_the_first_that_is_ours_counts() {
        let policy = Policy::StickyCookie { cookie: "backend".to_owned() };
        let cookies = Sticky::new(b"secret", ["10.0.0.1:80", "10.0.0.2:80"]);
        let sticky_in = |lines: &[&str]| {
            let fields = |name: &str| {
                let lines = if name == "cookie" { lines } else { &[] };
                lines.iter().map(|line| line.as_bytes())
            };
            find(&policy, Some(&cookies), || "192.0.2.1".parse().unwrap(), fields).sticky
        };
        let sticky = |line: &str| sticky_in(&[line]);
        let [one, other] = [0, 1].map(|index| format!("backend={}", cookies.encode(index).unwrap()));
        assert_eq!(sticky(&format!("backend=old; {other}; {one}")), Some(1));
        assert_eq!(sticky(&format!("backend=\u{e4}; {one}")), Some(0));
        assert_eq!(sticky("backend=old; backend="), None);
        assert_eq!(sticky_in(&["a=1; backend=old", "b=2", &other, &one]), Some(1), "over several lines");
        let many = format!("{}{one}", "backend=old; ".repeat(COOKIES_READ));
        assert_eq!(sticky(&many), None, "a client cannot have any number of them looked at");
    }

    #[test]
    fn the_same_client_asks_for_the_same_backend() {
        let key = |policy: &Policy, ip: &str| {
            find(policy, None, || ip.parse().unwrap(), |_| std::iter::empty()).key
        };
        assert_eq!(key(&Policy::IpHash, "192.0.2.1"), key(&Policy::IpHash, "192.0.2.1"));
        assert_ne!(key(&Policy::IpHash, "192.0.2.1"), key(&Policy::IpHash, "192.0.2.2"));
        assert_eq!(key(&Policy::Latency, "192.0.2.1"), None);
        let by_header = Policy::HeaderHash { header: "x-user".to_owned() };
        assert_eq!(key(&by_header, "192.0.2.1"), None, "a request without the field goes anywhere");
        let user = |name: &str| (name == "x-user").then_some(&b"u1"[..]).into_iter();
        let asked = find(&by_header, None, || "192.0.2.1".parse().unwrap(), user);
        assert_eq!(asked.key, Some(hash_key(b"u1")));
    }
}
