//! The policies by name.

use serde::{Deserialize, Serialize};

/// How a backend is chosen.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// The least of latency × (requests in flight + 1) plus a penalty for recent failures.
    #[default]
    Latency,
    /// Hot–cold lexicographic: of those with few requests in flight the fastest, else the one with the fewest.
    Prequal,
    /// Of two at random, the one with the lower peak EWMA latency × (requests in flight + 1), plus the penalty.
    PeakEwma,
    /// The one with the fewest requests in flight.
    LeastRequest,
    /// Each in turn, by weight.
    RoundRobin,
    /// Any, by weight.
    Random,
    /// The lowest last latency: the naive rule, kept as a baseline that shows why the others exist.
    LowestLatency,
    /// By the client's address.
    IpHash,
    /// By the value of a header field.
    HeaderHash {
        /// The field's name.
        header: String,
    },
    /// By the value of a cookie.
    CookieHash {
        /// The cookie's name.
        cookie: String,
    },
    /// Where the client was before, told by a signed cookie; otherwise like `latency`.
    StickyCookie {
        /// The cookie's name.
        cookie: String,
    },
}
