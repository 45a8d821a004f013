//! Header fields on their way through: what ends here, what is added, and what is refused.

mod address;
mod forwarded;
mod hop_by_hop;
mod present;
mod request;
mod response;
mod target;

/// The number of fields a request may have, as HAProxy (`tune.http.maxhdr` 101), Apache (100) and Envoy (100) take; in
/// the wire lane a default.
pub(crate) const MOST_FIELDS: usize = 100;

pub use address::find_address;
pub(crate) use forwarded::is_host_told;
pub use forwarded::{FORWARDED_FOR, InvalidNetwork, TrustedProxies};
pub use request::{Refusal, prepare_request};
pub use response::prepare_response;
