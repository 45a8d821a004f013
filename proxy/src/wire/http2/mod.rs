//! HTTP/2 from the client to HTTP/1 at the backend.
//!
//! The h2 crate frames and compresses; each stream's request becomes the HTTP/1 head that says the same
//! ([`request`]), and from there on it is an [`Exchange`](super::Exchange) like any other: the same checks, the
//! same attempts, the same relaying. Only its client's side differs ([`stream`], [`download`]).

mod body;
mod connection;
mod download;
mod ping;
mod request;
mod response;
mod stream;

pub(crate) use connection::Settings;
pub(super) use connection::serve;
pub(super) use download::Download;
#[cfg(any(test, feature = "fuzzing"))]
pub(super) use request::read;
pub(super) use stream::ClientStream;
