//! The PROXY protocol, versions 1 and 2: who the client is, told by the balancer before the first byte.
//!
//! <https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt>. The section numbers below are its.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout_at};

/// What version 2 begins with (§2.2); chosen so that no protocol in use can.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// The fixed part of version 2 (§2.2): signature, version and command, family, length.
const FIXED_LENGTH: usize = 16;

/// The longest line of version 1 (§2.1), with its line end.
const LINE_LIMIT: usize = 107;

/// The longest variable part of version 2 that is read. The addresses need 36 bytes (216 for Unix sockets);
/// the rest are extensions, of which a client certificate's are the longest in use.
const BODY_LIMIT: usize = 4096;

/// How long to wait before looking again when a line of version 1 has come in part, which hardly happens: §2
/// asks that the sender write it at once.
const PAUSE: Duration = Duration::from_millis(5);

/// Where a connection came from and where it was going.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    /// The client's.
    pub source: SocketAddr,
    /// The one it connected to.
    pub destination: SocketAddr,
}

/// Whose connection a header says it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// A client's, who connected from and to these.
    Client(Addresses),
    /// The sender's own, such as a check of its (`LOCAL`): its real addresses hold (§2.2).
    Own,
    /// A client's of whom nothing is told (`UNKNOWN`, `UNSPEC`, a Unix socket). The real addresses hold here too,
    /// but they are the sender's, and what the client claims is not the sender's word.
    Nameless,
}

/// Why a header is not accepted; the connection is closed, as §2 demands.
#[derive(Debug, thiserror::Error)]
pub enum HeaderError {
    /// It broke off, or the socket did.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It did not come in time.
    #[error("no whole PROXY header came in time")]
    Timeout,
    /// There is none, or it is malformed.
    #[error("malformed or missing PROXY header: {0}")]
    Malformed(&'static str),
}

/// Reads a header and not a byte more.
pub async fn read(socket: &mut TcpStream, within: Duration) -> Result<Told, HeaderError> {
    let deadline = Instant::now() + within;
    timeout_at(deadline, read_either(socket)).await.unwrap_or(Err(HeaderError::Timeout))
}

async fn read_either(socket: &mut TcpStream) -> Result<Told, HeaderError> {
    let mut begun = [0; LINE_LIMIT];
    loop {
        let count = socket.peek(&mut begun).await?;
        let begun = &begun[..count];
        if begun.is_empty() {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        if begun[0] == SIGNATURE[0] {
            return read_binary(socket).await;
        }
        let start = count.min(6);
        if begun[..start] != b"PROXY "[..start] {
            return Err(HeaderError::Malformed("it begins otherwise"));
        }
        if let Some(end) = begun.windows(2).position(|pair| pair == b"\r\n") {
            let mut line = vec![0; end + 2];
            socket.read_exact(&mut line).await?;
            return parse_line(&line[..end]);
        }
        if count == LINE_LIMIT {
            return Err(HeaderError::Malformed("the line does not end"));
        }
        sleep(PAUSE).await;
    }
}

async fn read_binary(socket: &mut TcpStream) -> Result<Told, HeaderError> {
    let mut fixed = [0; FIXED_LENGTH];
    socket.read_exact(&mut fixed).await?;
    if !fixed.starts_with(SIGNATURE) {
        return Err(HeaderError::Malformed("the signature is wrong"));
    }
    let length = usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    if length > BODY_LIMIT {
        return Err(HeaderError::Malformed("it is too long"));
    }
    let mut body = vec![0; length];
    socket.read_exact(&mut body).await?;
    parse_binary(fixed[12], fixed[13], &body)
}

/// Reads a line of version 1 without its end (§2.1).
fn parse_line(line: &[u8]) -> Result<Told, HeaderError> {
    let fault = || HeaderError::Malformed("the line is not one of version 1");
    let line = std::str::from_utf8(line).map_err(|_| fault())?;
    let mut words = line.split(' ');
    let (Some("PROXY"), Some(family)) = (words.next(), words.next()) else { return Err(fault()) };
    if family == "UNKNOWN" {
        return Ok(Told::Nameless);
    }
    let mut next = || words.next().ok_or_else(fault);
    let (source, destination, source_port, destination_port) = (next()?, next()?, next()?, next()?);
    if words.next().is_some() {
        return Err(fault());
    }
    let address = |text: &str| -> Result<IpAddr, HeaderError> {
        match family {
            "TCP4" => text.parse::<Ipv4Addr>().map(IpAddr::from).map_err(|_| fault()),
            "TCP6" => text.parse::<Ipv6Addr>().map(IpAddr::from).map_err(|_| fault()),
            _ => Err(fault()),
        }
    };
    let port = |text: &str| -> Result<u16, HeaderError> {
        // `parse` alone would take `+80` and `080`.
        let is_plain =
            text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
        text.parse().ok().filter(|_| is_plain).ok_or_else(fault)
    };
    Ok(Told::Client(Addresses {
        source: SocketAddr::new(address(source)?, port(source_port)?),
        destination: SocketAddr::new(address(destination)?, port(destination_port)?),
    }))
}

/// Reads the variable part of version 2 (§2.2); what follows the addresses are extensions, which are ignored.
fn parse_binary(command: u8, family: u8, body: &[u8]) -> Result<Told, HeaderError> {
    match command {
        // LOCAL: whatever the family, the sender speaks for itself.
        0x20 => return Ok(Told::Own),
        0x21 => {}
        _ => return Err(HeaderError::Malformed("unknown version or command")),
    }
    let short = || HeaderError::Malformed("the addresses are cut short");
    let port = |at: usize| -> Result<u16, HeaderError> {
        body.get(at..at + 2).and_then(|bytes| bytes.try_into().ok()).map(u16::from_be_bytes).ok_or_else(short)
    };
    let (source, destination): (IpAddr, IpAddr) = match family {
        // UNSPEC, and Unix sockets, whose addresses say nothing here.
        0x00 | 0x31 | 0x32 => return Ok(Told::Nameless),
        0x11 => (address4(body, 0).ok_or_else(short)?.into(), address4(body, 4).ok_or_else(short)?.into()),
        0x21 => (address6(body, 0).ok_or_else(short)?.into(), address6(body, 16).ok_or_else(short)?.into()),
        _ => return Err(HeaderError::Malformed("unknown address family")),
    };
    let ports = if source.is_ipv4() { 8 } else { 32 };
    Ok(Told::Client(Addresses {
        source: SocketAddr::new(source, port(ports)?),
        destination: SocketAddr::new(destination, port(ports + 2)?),
    }))
}

fn address4(body: &[u8], at: usize) -> Option<Ipv4Addr> {
    Some(Ipv4Addr::from(<[u8; 4]>::try_from(body.get(at..at + 4)?).ok()?))
}

fn address6(body: &[u8], at: usize) -> Option<Ipv6Addr> {
    Some(Ipv6Addr::from(<[u8; 16]>::try_from(body.get(at..at + 16)?).ok()?))
}

/// Writes a header of version 2; without a client it says `LOCAL`.
pub fn write(client: Option<Addresses>) -> Vec<u8> {
    let mut header = Vec::with_capacity(FIXED_LENGTH + 36);
    header.extend_from_slice(SIGNATURE);
    let Some(Addresses { source, destination }) = client else {
        header.extend_from_slice(&[0x20, 0x00, 0, 0]);
        return header;
    };
    let (from, to) = (source.ip().to_canonical(), destination.ip().to_canonical());
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            header.extend_from_slice(&[0x21, 0x11, 0, 12]);
            header.extend_from_slice(&from.octets());
            header.extend_from_slice(&to.octets());
        }
        (from, to) => {
            header.extend_from_slice(&[0x21, 0x21, 0, 36]);
            for address in [from, to] {
                let address = match address {
                    IpAddr::V4(address) => address.to_ipv6_mapped(),
                    IpAddr::V6(address) => address,
                };
                header.extend_from_slice(&address.octets());
            }
        }
    }
    header.extend_from_slice(&source.port().to_be_bytes());
    header.extend_from_slice(&destination.port().to_be_bytes());
    header
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn addresses(source: &str, destination: &str) -> Addresses {
        Addresses { source: source.parse().unwrap(), destination: destination.parse().unwrap() }
    }

    fn parse(header: &[u8]) -> Result<Told, HeaderError> {
        parse_binary(header[12], header[13], &header[FIXED_LENGTH..])
    }

    #[test]
    fn lines_of_version_1_are_read() {
        let read = parse_line(b"PROXY TCP4 192.0.2.1 198.51.100.2 51000 443").unwrap();
        assert_eq!(read, Told::Client(addresses("192.0.2.1:51000", "198.51.100.2:443")));
        let read = parse_line(b"PROXY TCP6 2001:db8::1 ::1 1 65535").unwrap();
        assert_eq!(read, Told::Client(addresses("[2001:db8::1]:1", "[::1]:65535")));
        assert_eq!(parse_line(b"PROXY UNKNOWN ffff:: whatever").unwrap(), Told::Nameless);
    }

    #[test]
    fn lines_that_are_nearly_right_are_refused() {
        for line in [
            "PROXY",
            "PROXY ",
            "PROXY TCP4",
            "PROXY TCP4 192.0.2.1 198.51.100.2 51000",
            "PROXY TCP4 192.0.2.1 198.51.100.2 51000 443 1",
            "PROXY TCP4  192.0.2.1 198.51.100.2 51000 443",
            "PROXY TCP4 192.0.2.1 198.51.100.2 51000 65536",
            "PROXY TCP4 192.0.2.1 198.51.100.2 +51000 443",
            "PROXY TCP4 192.0.2.1 198.51.100.2 051 443",
            "PROXY TCP4 ::1 ::1 1 2",
            "PROXY TCP6 192.0.2.1 192.0.2.1 1 2",
            "PROXY UDP4 192.0.2.1 198.51.100.2 51000 443",
            "proxy TCP4 192.0.2.1 198.51.100.2 51000 443",
        ] {
            assert!(parse_line(line.as_bytes()).is_err(), "{line}");
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let four = addresses("192.0.2.1:51000", "198.51.100.2:443");
        let six = addresses("[2001:db8::1]:1", "[2001:db8::2]:2");
        assert_eq!(write(Some(four)).len(), FIXED_LENGTH + 12);
        for addresses in [four, six] {
            assert_eq!(parse(&write(Some(addresses))).unwrap(), Told::Client(addresses));
        }
        assert_eq!(parse(&write(None)).unwrap(), Told::Own);
        for family in [0x00, 0x31, 0x32] {
            assert_eq!(parse_binary(0x21, family, &[]).unwrap(), Told::Nameless);
        }
        let mixed = parse(&write(Some(addresses("192.0.2.1:1", "[::1]:2")))).unwrap();
        let Told::Client(mixed) = mixed else { panic!("{mixed:?}") };
        assert_eq!(mixed.source.ip().to_canonical().to_string(), "192.0.2.1");
    }

    #[test]
    fn extensions_are_passed_over_and_cut_addresses_refused() {
        let four = addresses("192.0.2.1:51000", "198.51.100.2:443");
        let mut header = write(Some(four));
        header.extend_from_slice(&[0x01, 0, 2, b'h', b'2']);
        assert_eq!(parse(&header).unwrap(), Told::Client(four));
        assert!(parse(&header[..FIXED_LENGTH + 11]).is_err());
        for (command, family) in [(0x22, 0x11), (0x11, 0x11), (0x21, 0x41)] {
            assert!(parse_binary(command, family, &[0; 36]).is_err(), "{command:x} {family:x}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parsers_panic(
            line in prop::collection::vec(any::<u8>(), 0..LINE_LIMIT),
            command: u8, family: u8, body in prop::collection::vec(any::<u8>(), 0..64),
        ) {
            let _ = parse_line(&line);
            let _ = parse_binary(command, family, &body);
        }
    }
}
