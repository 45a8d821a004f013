//! The shared cache: a RESP and HTTP server, and the library the other tiers read through.
//!
//! The library speaks RESP, so the same code talks to our server, to Valkey and to Redis.

pub mod handle;
mod record_key;

pub use handle::{Cache, Found};
pub use record_key::record_key;
