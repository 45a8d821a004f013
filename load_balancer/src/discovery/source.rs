//! What may stand in `backends`: an address, a DNS name, or the name of a DNS service.

use process::Weighted;
use process::weighted::WEIGHT;

use super::address;

/// One entry of `backends`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Source {
    /// `host:port`: one backend. A name stands for the first address the system's resolver gives.
    Fixed(String),
    /// `dns://host:port`: every address of the name is a backend.
    Name {
        /// The name.
        host: String,
        /// The port of each backend.
        port: u16,
    },
    /// `srv://name`: every target of the service, at the ports and with the weights it gives.
    Service {
        /// The name, such as `_http._tcp.gateways.internal`.
        name: String,
    },
}

/// An entry with the weight the file gives each of its backends.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Listed {
    pub(crate) source: Source,
    pub(crate) weight: f64,
}

impl Listed {
    /// Reads an entry with its weight; the text says what is wrong with it.
    pub(crate) fn read(entry: &Weighted) -> Result<Self, String> {
        let (source, weight) = (Source::read(&entry.address)?, entry.weight);
        if matches!(source, Source::Service { .. }) && weight != WEIGHT {
            return Err(format!("`{source}`: its records have the weights, so it takes none here"));
        }
        Ok(Self { source, weight })
    }
}

impl Source {
    /// Reads an entry; the text says what is wrong with it.
    pub(crate) fn read(text: &str) -> Result<Self, String> {
        if let Some(rest) = text.strip_prefix("dns://") {
            let spelt = address::read(rest).map_err(|fault| format!("`{text}`: {fault}"))?;
            let fault = || format!("`{text}`: dns:// takes a name; an address stands without it");
            let (host, port) = spelt.rsplit_once(':').ok_or_else(fault)?;
            if spelt.parse::<std::net::SocketAddr>().is_ok() {
                return Err(fault());
            }
            return Ok(Self::Name { host: host.to_owned(), port: port.parse().map_err(|_| fault())? });
        }
        if let Some(rest) = text.strip_prefix("srv://") {
            let name = address::read_name(rest);
            let fault = || format!("`{text}` is not srv:// and a name such as _http._tcp.gateways.internal");
            return Ok(Self::Service { name: name.ok_or_else(fault)? });
        }
        if text.contains("://") {
            return Err(format!("`{text}` is not host:port, dns://host:port or srv://name"));
        }
        address::read(text).map(Self::Fixed)
    }
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Fixed(address) => f.write_str(address),
            Self::Name { host, port } => write!(f, "dns://{host}:{port}"),
            Self::Service { name } => write!(f, "srv://{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_reads_back_as_written() {
        for text in ["127.0.0.1:5000", "web:80", "dns://gateways.internal:5000", "srv://_http._tcp.internal"]
        {
            assert_eq!(Source::read(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_none_of_the_three_is_refused() {
        for text in [
            "http://a:1",
            "dns://a",
            "dns://127.0.0.1:80",
            "dns://[::1]:80",
            "srv://",
            "srv://a b",
            "srv://_http._tcp.a:80",
            "127.0.0.1",
            "a:0",
        ] {
            assert!(Source::read(text).is_err(), "{text}");
        }
    }
}
