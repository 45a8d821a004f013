//! Why a client's request goes no further.

use process::Problem;
use process::problem::kinds;

/// Why a request whose head does not end is given up.
pub(crate) const SLOW_HEAD: &str = "the request's head did not come in time";

/// What is wrong with a request; each is answered and ends its connection, because where the next request
/// would begin is in doubt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(in crate::wire) enum Refusal {
    #[error("the request line is malformed")]
    RequestLine,
    #[error("only HTTP/1.1 and HTTP/1.0 are spoken here")]
    Version,
    #[error("the request's target is malformed")]
    Target,
    #[error("the request's target is too long")]
    TargetSize,
    #[error("a header field is malformed")]
    Field,
    #[error("the header fields are larger than is allowed")]
    HeadSize,
    #[error("there are more header fields than are allowed")]
    FieldCount,
    /// RFC 9112 §3.2.
    #[error("the request must have exactly one Host field, which names a host")]
    Host,
    /// RFC 9112 §3.2.2.
    #[error("the target and the Host field name different hosts")]
    HostMismatch,
    /// RFC 9112 §6.3.
    #[error("the length of the request's body is ambiguous")]
    Framing,
    /// RFC 9112 §6.1.
    #[error("only the transfer coding chunked is supported")]
    TransferCoding,
    #[error("the request's body is not properly chunked")]
    Chunks,
    #[error("this server does not open tunnels")]
    Connect,
    /// RFC 9110 §15.5.9.
    #[error("{SLOW_HEAD}")]
    Slow,
    /// RFC 9110 §7.6.3.
    #[error("the request has come round too often")]
    Loop,
}

impl Refusal {
    /// Gives the problem it is answered with.
    #[cold]
    pub(in crate::wire) fn problem(self) -> Problem {
        let kind = match self {
            Self::Version => kinds::VERSION_NOT_SUPPORTED,
            Self::Slow => kinds::REQUEST_TIMEOUT,
            Self::TargetSize => kinds::TARGET_TOO_LONG,
            Self::HeadSize | Self::FieldCount => kinds::HEADERS_TOO_LARGE,
            Self::Loop => kinds::LOOP_DETECTED,
            Self::TransferCoding | Self::Connect => kinds::NOT_IMPLEMENTED,
            _ => kinds::MALFORMED_REQUEST,
        };
        Problem::new(kind).detail(self.to_string())
    }
}
