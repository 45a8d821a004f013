//! The API gateway: guards in front of services, and the way to them.
//!
//! A request enters one thread's `gateway` and passes, in this order: the route table (`routes`),
//! authentication (`token`), roles, the client's rate (`rate`), the body's size and the schema of the service
//! (`body`, `schema`), and the circuit of the service (`breaker`); then the load balancer's library sends it to the
//! best instance. The first guard that does not let it pass answers with a problem. What guards need from
//! services, keys and schemas, is fetched in the background (`published`) and read without a lock. Before all
//! that the gateway answers what is its own business (`own`): its health, and `OPTIONS` without a token.

mod admin;
mod body;
mod breaker;
mod clock;
mod config;
mod drain;
mod figures;
mod gateway;
mod own;
mod path;
mod published;
mod rate;
mod refusal;
mod register;
mod reload;
mod role;
mod route;
mod routes;
mod schema;
mod service;
mod shared;
mod target;
#[cfg(test)]
mod tests;
mod token;
mod upstream;

pub use config::{Config, Settings};
pub use role::bind;
