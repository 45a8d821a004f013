//! Header fields on their way through: what ends here, what is added, and what is refused.

mod address;
mod forwarded;
mod hop_by_hop;
mod present;
mod request;
mod response;
mod target;

pub use address::find_address;
pub use forwarded::{FORWARDED_FOR, InvalidNetwork, TrustedProxies};
pub use request::{Refusal, prepare_request};
pub use response::prepare_response;
