//! `host:port` in one spelling, so that the same backend from two sources is one backend.

use std::net::{IpAddr, SocketAddr};

/// The longest name DNS carries (RFC 1035 §2.3.4), without the root's dot.
const LONGEST_NAME: usize = 253;

/// The longest label of one (RFC 1035 §2.3.4).
const LONGEST_LABEL: usize = 63;

/// Reads `host:port` and gives it in one spelling: names in lower case, addresses as Rust writes them.
///
/// Refuses what no backend can be reached at: port 0, 0.0.0.0, a multicast address.
pub fn read(text: &str) -> Result<String, String> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        check_port(text, address.port())?;
        check_ip(text, address.ip())?;
        return Ok(address.to_string());
    }
    let fault = || format!("`{text}` is not host:port");
    let (host, port) = text.rsplit_once(':').ok_or_else(fault)?;
    // `parse` takes a leading plus, which is no port.
    if port.is_empty() || !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(fault());
    }
    let port: u16 = port.parse().map_err(|_| fault())?;
    check_port(text, port)?;
    Ok(format!("{}:{port}", read_name(host).ok_or_else(fault)?))
}

/// Reads a host name and gives it in lower case; `None` for what is none.
pub(crate) fn read_name(name: &str) -> Option<String> {
    let bare = name.strip_suffix('.').unwrap_or(name);
    let is_label = |label: &str| {
        let is_sane = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        !label.is_empty() && label.len() <= LONGEST_LABEL && label.bytes().all(is_sane)
    };
    let is_name = bare.len() <= LONGEST_NAME && bare.split('.').all(is_label);
    // The C library reads `0`, `127.1` and `0x7f.1` as addresses; a last label in digits is never a name.
    let last = bare.rsplit('.').next().unwrap_or_default();
    let is_number = last.bytes().next().is_some_and(|byte| byte.is_ascii_digit());
    (is_name && !is_number).then(|| name.to_ascii_lowercase())
}

fn check_port(text: &str, port: u16) -> Result<(), String> {
    match port {
        0 => Err(format!("`{text}`: port 0 is no address to be reached at")),
        _ => Ok(()),
    }
}

fn check_ip(text: &str, ip: IpAddr) -> Result<(), String> {
    let ip = ip.to_canonical();
    let is_broadcast = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
    if ip.is_unspecified() || ip.is_multicast() || is_broadcast {
        return Err(format!("`{text}` is not an address a backend can be reached at"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_backend_has_one_spelling() {
        for (text, expected) in [
            ("127.0.0.1:5000", "127.0.0.1:5000"),
            ("Gateway-1.Internal:80", "gateway-1.internal:80"),
            ("[::1]:80", "[::1]:80"),
            ("[0:0:0:0:0:0:0:1]:80", "[::1]:80"),
            ("fully.qualified.:80", "fully.qualified.:80"),
        ] {
            assert_eq!(read(text).unwrap(), expected);
        }
    }

    #[test]
    fn what_no_backend_can_be_reached_at_is_refused() {
        for text in [
            "",
            "a",
            "a:",
            ":1",
            "a:0",
            "a:65536",
            "a:+1",
            "0.0.0.0:80",
            "[::]:80",
            "[::ffff:0.0.0.0]:80",
            "224.0.0.1:80",
            "255.255.255.255:80",
            "0:80",
            "127.1:80",
            "0x7f.1:80",
            "a b:80",
            "a/b:80",
            "::1:80",
            "a..b:80",
            "user@a:80",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
