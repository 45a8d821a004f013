//! TLS by rustls: certificates for clients, trust in backends.
//!
//! A listener under TLS has one [`Acceptor`], which all threads share. It chooses a certificate by the host a
//! client names ([`certificates`]), and [`Acceptor::reload`] puts new files in the place of the old without
//! touching a connection. Towards backends [`client_config`] is made once and shared by all connections.

mod acceptor;
mod backend;
mod certificates;
mod config;
mod expiry;
mod pem;

pub use acceptor::Acceptor;
pub use backend::{Backend, client_config};
pub use config::{CertificateFiles, Config, Version};
