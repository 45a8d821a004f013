//! The access log: one line of JSON a request, for none, some or all of them.
//!
//! Threads of the data plane write lines into buffers of their own and hand them to one writer; a disk that
//! is slow or full costs lines, which are counted, and never a request. Neither query strings nor fields are
//! logged, because tokens travel in them.

mod config;
mod line;
mod writer;

pub use config::{Config, Mode};
pub(crate) use line::{Asker, CLIENT_GONE, Line};
pub(crate) use writer::{AccessLog, Lines};
