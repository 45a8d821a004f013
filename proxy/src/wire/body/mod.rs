//! Bodies: which bytes are one, and how they go from one side to the other.
//!
//! To a side that takes bytes by a [`relay`], to one that takes frames by an [`inflow`]; [`chunked`] is one coding of
//! both, [`trailers`] what may follow it. [`upload`] is a request's body on its way, [`download`] an answer's.

pub(super) mod chunked;
pub(super) mod download;
pub(super) mod inflow;
pub(super) mod relay;
pub(super) mod trailers;
pub(super) mod upload;
