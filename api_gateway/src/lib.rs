//! The API gateway: guards in front of services, and the way to them.
#![allow(dead_code, unused_imports)]
mod address;
mod breaker;
mod clock;
pub mod config;
mod path;
mod published;
mod rate;
mod refusal;
mod routes;
mod schema;
mod token;
pub use config::Config;
