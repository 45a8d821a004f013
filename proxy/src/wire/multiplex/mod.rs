//! HTTP/2 at the backend.
//!
//! A request leases a place on a shared connection ([`connections`]) and becomes a stream of its own, a [`Call`].
//! Its head is written as a message ([`request`]); the head of its response is written as HTTP/1 would bring it
//! and read as strictly, so that from there on both go the same ways. Bodies move in frames, or as bytes where
//! the client speaks HTTP/1.

mod call;
mod connection;
mod connections;
mod request;

#[cfg(any(test, feature = "fuzzing"))]
pub(super) use call::read_head;
pub(super) use call::{Call, Fault, reset_reason};
pub(super) use connections::{Connections, Lease, NoPlace, open_alone};
pub(super) use request::message;
