//! The proxy's account of who asked: `X-Forwarded-For`, `-Proto`, `-Host` and `Via`.

use std::net::IpAddr;
use std::str::FromStr;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use super::present::Present;
use crate::Client;

/// Where proxies tell who asked them, each behind those before it.
pub const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// The pseudonym of RFC 9110 §7.6.3, which hides the host's own name.
const VIA_HTTP_11: HeaderValue = HeaderValue::from_static("1.1 sixfold");
const VIA_HTTP_2: HeaderValue = HeaderValue::from_static("2 sixfold");

/// The clients whose own account of who asked is believed and extended; anyone else's is replaced.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustedProxies(Vec<Network>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Network {
    address: IpAddr,
    prefix: u8,
}

/// Says that a text names no network.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is neither an IP address nor a network such as 10.0.0.0/8")]
pub struct InvalidNetwork(String);

impl TrustedProxies {
    /// Reads a list of IP addresses and networks.
    pub fn parse(texts: &[String]) -> Result<Self, InvalidNetwork> {
        texts.iter().map(|text| text.parse()).collect::<Result<_, _>>().map(Self)
    }

    /// Tells whether a client's account of who asked is believed: it is on the list itself, and not somebody
    /// unnamed behind one that is.
    pub fn believes(&self, client: &Client) -> bool {
        client.is_named() && self.contains(client.ip())
    }

    /// Tells whether an address is on the list.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(address))
    }
}

impl FromStr for Network {
    type Err = InvalidNetwork;

    fn from_str(text: &str) -> Result<Self, InvalidNetwork> {
        let fault = || InvalidNetwork(text.to_owned());
        let (address, prefix) = match text.split_once('/') {
            None => (text, None),
            Some((address, prefix)) => (address, Some(prefix)),
        };
        let address: IpAddr = address.parse().map_err(|_| fault())?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.map_or(Ok(longest), str::parse).map_err(|_| fault())?;
        if prefix > longest { Err(fault()) } else { Ok(Self { address, prefix }) }
    }
}

impl Network {
    fn contains(self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(ours), IpAddr::V4(theirs)) => {
                (u32::from(ours) ^ u32::from(theirs)).checked_shr(32 - u32::from(self.prefix)).unwrap_or(0)
                    == 0
            }
            (IpAddr::V6(ours), IpAddr::V6(theirs)) => {
                (u128::from(ours) ^ u128::from(theirs)).checked_shr(128 - u32::from(self.prefix)).unwrap_or(0)
                    == 0
            }
            _ => false,
        }
    }
}

/// Writes who asked, over what and for which host.
pub(super) fn write(
    fields: &mut HeaderMap,
    present: Present,
    client: &Client,
    trusted: &TrustedProxies,
    version: http::Version,
) {
    let extends = trusted.believes(client);
    if extends && present.any(Present::FORWARDED_FOR) {
        fields.append(FORWARDED_FOR, client.field().clone());
    } else {
        fields.insert(FORWARDED_FOR, client.field().clone());
    }
    if !extends || !present.any(Present::FORWARDED_PROTO) {
        fields.insert(FORWARDED_PROTO, HeaderValue::from_static(client.scheme()));
    }
    let (has_for, has_host) = (present.any(Present::FORWARDED_FOR), present.any(Present::FORWARDED_HOST));
    if !(extends && is_host_told(has_for, has_host))
        && let Some(host) = fields.get(header::HOST).cloned()
    {
        fields.insert(FORWARDED_HOST, host);
    }
    if !extends && present.any(Present::FORWARDED) {
        // Nobody vouches for it, and a backend may believe it over the fields above.
        fields.remove(header::FORWARDED);
    }
    if !extends && present.any(Present::REAL_IP) {
        fields.remove(REAL_IP);
    }
    let via = if version == http::Version::HTTP_2 { VIA_HTTP_2 } else { VIA_HTTP_11 };
    fields.append(header::VIA, via);
}

/// Tells whether a trusted proxy that told so much has told the host, so that `X-Forwarded-Host` is not ours to write.
///
/// One that tells who asked, but not for which host, may have had a request without one: the host it wrote is then
/// this server's own address.
pub(crate) fn is_host_told(has_for: bool, has_host: bool) -> bool {
    has_host || has_for
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_holds_its_own_addresses_only() {
        let list = |text: &str| TrustedProxies::parse(&[text.to_owned()]).unwrap();
        let ip = |text: &str| text.parse().unwrap();
        assert!(list("10.0.0.0/8").contains(ip("10.255.0.1")));
        assert!(!list("10.0.0.0/8").contains(ip("11.0.0.1")));
        assert!(list("0.0.0.0/0").contains(ip("192.0.2.1")));
        assert!(!list("0.0.0.0/0").contains(ip("::1")));
        assert!(list("::1").contains(ip("::1")));
        assert!(list("fd00::/8").contains(ip("fd12::1")));
        assert!(TrustedProxies::parse(&["10.0.0.0/33".to_owned()]).is_err());
        assert!(TrustedProxies::parse(&["host".to_owned()]).is_err());
    }
}
