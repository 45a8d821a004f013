//! Which address a request comes from, when the peer may be a proxy.

use std::net::{IpAddr, SocketAddr};

use super::TrustedProxies;
use crate::Client;

/// Finds who asked: the last address that was not added by a trusted proxy.
///
/// `told` are the values of `X-Forwarded-For`, the last first: they are read from the right, because everything left of
/// the first untrusted address is what that client claims. Anything unreadable ends the search at the last address that
/// was.
pub fn find_address<'v>(
    trusted: &TrustedProxies,
    client: &Client,
    told: impl IntoIterator<Item = &'v [u8]>,
) -> IpAddr {
    let mut found = client.ip();
    if !trusted.believes(client) {
        return found;
    }
    for entry in told.into_iter().flat_map(|value| value.rsplit(|byte| *byte == b',')) {
        let Some(address) = parse_entry(entry.trim_ascii()) else { return found };
        found = address;
        if !trusted.contains(found) {
            return found;
        }
    }
    found
}

/// Reads `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1` or `[2001:db8::1]:80`.
fn parse_entry(entry: &[u8]) -> Option<IpAddr> {
    let entry = std::str::from_utf8(entry).ok()?;
    let address = entry.parse::<IpAddr>().ok().or_else(|| {
        let bracketed = entry.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        bracketed
            .and_then(|inner| inner.parse().ok())
            .or_else(|| entry.parse::<SocketAddr>().ok().map(|address| address.ip()))
    });
    address.map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy_protocol::Addresses;

    fn connect(peer: &str) -> Client {
        let address = SocketAddr::new(peer.parse().unwrap(), 80);
        Client::new(Addresses { source: address, destination: address }, false)
    }

    fn find(trusted: &[&str], client: &Client, forwarded: &[&str]) -> String {
        let trusted: Vec<String> = trusted.iter().map(|text| (*text).to_owned()).collect();
        let told = forwarded.iter().rev().map(|value| value.as_bytes());
        find_address(&TrustedProxies::parse(&trusted).unwrap(), client, told).to_string()
    }

    fn client(trusted: &[&str], peer: &str, forwarded: &[&str]) -> String {
        find(trusted, &connect(peer), forwarded)
    }

    const LOOPBACK: &[&str] = &["127.0.0.0/8", "::1"];

    #[test]
    fn only_a_trusted_peer_is_believed() {
        assert_eq!(client(LOOPBACK, "127.0.0.1", &["192.0.2.7"]), "192.0.2.7");
        assert_eq!(client(LOOPBACK, "198.51.100.1", &["192.0.2.7"]), "198.51.100.1");
        assert_eq!(client(LOOPBACK, "::ffff:127.0.0.1", &["192.0.2.7"]), "192.0.2.7");
    }

    #[test]
    fn nobody_unnamed_behind_a_trusted_peer_is_believed() {
        assert_eq!(find(LOOPBACK, &connect("127.0.0.1").nameless(), &["192.0.2.7"]), "127.0.0.1");
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
