//! Which address a request comes from, when the peer may be a proxy.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName};
use proxy::fields::TrustedProxies;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Finds the client: the last address that was not added by a trusted proxy.
///
/// The field is read from the right, because everything left of the first untrusted address is what that
/// client claims. Anything unreadable ends the search at the last address that was.
pub(crate) fn find_client(trusted: &TrustedProxies, peer: IpAddr, fields: &HeaderMap) -> IpAddr {
    let mut client = peer.to_canonical();
    if !trusted.contains(client) {
        return client;
    }
    for value in fields.get_all(X_FORWARDED_FOR).iter().rev() {
        let Ok(value) = value.to_str() else { return client };
        for entry in value.rsplit(',') {
            let Some(address) = parse_entry(entry.trim()) else { return client };
            client = address;
            if !trusted.contains(client) {
                return client;
            }
        }
    }
    client
}

/// Reads `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1` or `[2001:db8::1]:80`.
fn parse_entry(entry: &str) -> Option<IpAddr> {
    let address = entry.parse::<IpAddr>().ok().or_else(|| {
        let bracketed = entry.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        bracketed
            .and_then(|inner| inner.parse().ok())
            .or_else(|| entry.parse::<std::net::SocketAddr>().ok().map(|address| address.ip()))
    });
    address.map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(trusted: &[&str], peer: &str, forwarded: &[&str]) -> String {
        let trusted: Vec<String> = trusted.iter().map(|text| (*text).to_owned()).collect();
        let mut fields = HeaderMap::new();
        for value in forwarded {
            fields.append(X_FORWARDED_FOR, value.parse().unwrap());
        }
        find_client(&TrustedProxies::parse(&trusted).unwrap(), peer.parse().unwrap(), &fields).to_string()
    }

    const LOOPBACK: &[&str] = &["127.0.0.0/8", "::1"];

    #[test]
    fn only_a_trusted_peer_is_believed() {
        assert_eq!(client(LOOPBACK, "127.0.0.1", &["192.0.2.7"]), "192.0.2.7");
        assert_eq!(client(LOOPBACK, "198.51.100.1", &["192.0.2.7"]), "198.51.100.1");
        assert_eq!(client(LOOPBACK, "::ffff:127.0.0.1", &["192.0.2.7"]), "192.0.2.7");
    }

    #[test]
    fn a_client_cannot_claim_another_address_through_a_proxy() {
        assert_eq!(client(LOOPBACK, "127.0.0.1", &["10.0.0.1, 192.0.2.7"]), "192.0.2.7");
        assert_eq!(client(LOOPBACK, "127.0.0.1", &["10.0.0.1", "192.0.2.7"]), "192.0.2.7");
        assert_eq!(client(LOOPBACK, "127.0.0.1", &["192.0.2.7, 127.0.0.2"]), "192.0.2.7");
    }

    #[test]
    fn what_cannot_be_read_ends_the_search() {
        assert_eq!(client(LOOPBACK, "127.0.0.1", &["nonsense"]), "127.0.0.1");
        assert_eq!(client(LOOPBACK, "127.0.0.1", &["192.0.2.7, _hidden"]), "127.0.0.1");
        assert_eq!(client(LOOPBACK, "127.0.0.1", &[]), "127.0.0.1");
    }

    #[test]
    fn ports_and_brackets_are_understood() {
        assert_eq!(client(LOOPBACK, "::1", &["192.0.2.7:8080"]), "192.0.2.7");
        assert_eq!(client(LOOPBACK, "::1", &["[2001:db8::1]:443"]), "2001:db8::1");
        assert_eq!(client(LOOPBACK, "::1", &["[2001:db8::1]"]), "2001:db8::1");
    }

    #[test]
    fn a_network_holds_its_addresses_only() {
        assert_eq!(client(&["10.0.0.0/8"], "10.255.0.1", &["192.0.2.7"]), "192.0.2.7");
        assert_eq!(client(&["10.0.0.0/8"], "11.0.0.1", &["192.0.2.7"]), "11.0.0.1");
        assert_eq!(client(&["0.0.0.0/0"], "11.0.0.1", &["192.0.2.7"]), "192.0.2.7");
        assert_eq!(client(&["2001:db8::/32"], "2001:db8:1::1", &["192.0.2.7"]), "192.0.2.7");
    }
}
