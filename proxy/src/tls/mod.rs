//! TLS by rustls: certificates for clients, trust in backends.

mod backend;
mod pem;

pub use backend::{Backend, client_config};
