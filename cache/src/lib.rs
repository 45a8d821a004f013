//! The shared cache: a RESP and HTTP server, and the library the other tiers read through.
//!
//! The server keeps keys and values in a bounded `store`; `resp` and `api` are two ways in, and [`bind`] puts
//! them together. The library, `handle`, speaks RESP, so the same code talks to our server, to Valkey and
//! to Redis: a read goes [`Cache::read`] → one multiplexed connection → `resp` → `store::Store::get`. In the server's own
//! process it goes from the handle to the store ([`Cache::local`]).

mod api;
mod clock;
mod config;
mod figures;
mod handle;
mod record_key;
mod resp;
mod role;
mod shared;
mod store;

pub use config::Config;
pub use handle::{Cache, Claim, Claimed, Fill, Found, Source};
pub use record_key::record_key;
pub use role::{bind, bind_store};
pub use shared::SharedStore;
pub use store::Statistics;
