//! HTTP/2 from the client.
//!
//! The h2 crate frames and compresses; each stream's request becomes the HTTP/1 head that says the same
//! ([`request`]), and from there on it is an [`Exchange`](super::Exchange) like any other: the same checks, the
//! same attempts. Only its client's side differs ([`stream`], [`response`]).

mod body;
mod connection;
mod frames;
mod request;
mod response;
mod stream;

pub(super) use body::Body;
pub(crate) use connection::Settings;
pub(super) use connection::serve;
pub(super) use frames::Frames;
#[cfg(any(test, feature = "fuzzing"))]
pub(super) use request::read;
pub(super) use response::message;
pub(super) use stream::ClientStream;
