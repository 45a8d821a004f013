//! The two ways of a request to a backend: as a message of hyper's, or in bytes.

mod copy;
mod message;
mod wire;

pub(crate) use copy::Fields;
pub(crate) use message::MessageLane;
pub(crate) use wire::WireLane;
